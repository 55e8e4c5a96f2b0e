package exporter

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const (
	metricsDocument = "../../docs/metrics.md"
	tableBegin      = "<!-- the table is written by: go test ./cluster-exporter/exporter -run TestMetricsAreDocumented -update -->\n"
	tableEnd        = "<!-- end of the table -->\n"
)

// filled are metrics that each have a sample.
func filled() *metrics {
	m := newMetrics("1.2.3")
	m.skip(nil)
	for _, vec := range []*prometheus.GaugeVec{m.keys, m.skew} {
		vec.WithLabelValues("10.0.0.1:6443")
	}
	m.signing.WithLabelValues("10.0.0.1:6443", "key")
	m.problems.WithLabelValues(snapshotRefused, "destination prod")
	m.deliveries.WithLabelValues("prod", "refused", codeNotBelieved)
	m.delivered.WithLabelValues("prod")
	m.accepted.WithLabelValues("prod")
	return m
}

// Names, labels and meanings are what dashboards and alerts are made of: none changes without its documentation.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	m := filled()
	families := must(m.registry.Gather())
	var table strings.Builder
	table.WriteString("| metric | type | labels | what it says |\n|---|---|---|---|\n")
	for _, family := range families {
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+label.GetName()+"`")
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s |\n", family.GetName(), strings.ToLower(family.GetType().String()), strings.Join(labels, ", "), family.GetHelp())
	}
	descriptions := make(chan *prometheus.Desc, 100)
	m.registry.Describe(descriptions)
	if len(descriptions) != len(families) {
		t.Errorf("%d metrics, of which %d are documented: give the others a sample in this test", len(descriptions), len(families))
	}
	text := string(must(os.ReadFile(metricsDocument)))
	before, rest, found := strings.Cut(text, tableBegin)
	old, after, ended := strings.Cut(rest, tableEnd)
	if !found || !ended {
		t.Fatalf("%s has no table", metricsDocument)
	}
	if old == table.String() {
		return
	}
	if !*update {
		t.Errorf("docs/metrics.md is not what the exporter has; run with -update:\n%s", table.String())
		return
	}
	if err := os.WriteFile(metricsDocument, []byte(before+tableBegin+table.String()+tableEnd+after), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(filled().registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", err, problems)
	}
}

// What the documentation says of a problem's reasons, and of a delivery's codes, is all there is.
func TestReasonsAndCodesAreDocumented(t *testing.T) {
	t.Parallel()
	text := string(must(os.ReadFile(metricsDocument)))
	for _, reason := range []string{
		readFailed, listFailed, unreachable, issuerDiffers, noAPIServerHasTheIssuer, apiServersDisagree, privateKeyListed, attestationFailed,
		signingKeyNotListed, deliveryFailed, snapshotRefused, queueRefused,
	} {
		if !strings.Contains(text, "| `"+reason+"` |") {
			t.Errorf("the reason %s is not documented", reason)
		}
	}
	reason := regexp.MustCompile("(?m)^\\| `([A-Z][A-Za-z]+)` \\|")
	if got := len(reason.FindAllString(text, -1)); got != 12 {
		t.Errorf("%d reasons are documented, there are 12", got)
	}
}

// No publisher, nor who plays one, can make more series than there are codes.
func TestCodesAreBounded(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for status := range 1000 {
		for _, code := range []string{"", "made-up", fmt.Sprint(status), codeNotBelieved, strings.Repeat("x", 1000)} {
			seen[label(answer{HTTPStatus: status, problem: problem{Code: code}}, nil)] = true
		}
	}
	seen[label(answer{}, errors.New("connection refused"))] = true
	if len(seen) != 13 { // http-0xx to http-9xx, not-believed, no-answer, and none with a receipt
		t.Errorf("%d labels: %v", len(seen), seen)
	}
	if got := label(answer{HTTPStatus: http.StatusForbidden, problem: problem{Code: "fork"}}, nil); got != "fork" {
		t.Errorf("fork is %q", got)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
