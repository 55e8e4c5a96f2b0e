package observability_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/kube-iam-assume/kube-iam-assume/test/observability"
)

const runbook = "https://github.com/kube-iam-assume/kube-iam-assume/blob/main/docs/runbook.md#"

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Every alert leads to its entry, every entry is an alert's, and each says what it means and what to do.
func TestRunbook(t *testing.T) {
	t.Parallel()
	_, entries, _ := strings.Cut(read(t, "../../docs/runbook.md"), "\n## ")
	var documented []string
	for entry := range strings.SplitSeq(entries, "\n## ") {
		name, text, _ := strings.Cut(entry, "\n")
		documented = append(documented, name)
		if !strings.Contains(text, "**Meaning.** ") || !strings.Contains(text, "**Do.** ") {
			t.Errorf("the entry of %s lacks a meaning or what to do", name)
		}
	}
	var alerts []string
	for _, rule := range readRules(t) {
		alerts = append(alerts, rule.Alert)
		if got, want := rule.Annotations["runbook_url"], runbook+strings.ToLower(rule.Alert); got != want {
			t.Errorf("%s leads to %s, want %s", rule.Alert, got, want)
		}
		if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s is %q", rule.Alert, severity)
		}
	}
	if !slices.Equal(alerts, documented) {
		t.Errorf("alerts   %v\nrunbook  %v", alerts, documented)
	}
}

// scraped are labels that Prometheus adds.
var scraped = []string{"cluster", "namespace", "pod", "instance", "job"}

// metrics are the documented ones, with the labels they have. A test of the exporter holds them to what it serves.
func metrics(t *testing.T) map[string][]string {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| `(kube_iam_assume_exporter_\\w+)` \\| \\w+ \\| ([^|]*) \\|")
	all := map[string][]string{}
	for _, match := range row.FindAllStringSubmatch(read(t, "../../docs/metrics.md"), -1) {
		all[match[1]] = slices.Clone(scraped)
		for label := range strings.SplitSeq(match[2], ", ") {
			if label = strings.Trim(label, "` "); label != "" {
				all[match[1]] = append(all[match[1]], label)
			}
		}
	}
	if len(all) < 10 {
		t.Fatalf("docs/metrics.md has %v", all)
	}
	return all
}

// processMetrics are of Prometheus' own library.
var processMetrics = map[string][]string{"process_resident_memory_bytes": scraped, "process_cpu_seconds_total": scraped}

// checkQuery returns what an expression names that there is not: a metric, a label that its metrics don't have, a value that the exporter never gives.
func checkQuery(t *testing.T, known map[string][]string, expression string) (problems []string) {
	t.Helper()
	parsed, err := observability.Parser().ParseExpr(expression)
	if err != nil {
		return []string{err.Error()}
	}
	var available []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		has, ok := known[selector.Name]
		if !ok {
			problems = append(problems, "there is no metric "+selector.Name)
		}
		available = append(available, has...)
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name != model.MetricNameLabel && !slices.Contains(has, matcher.Name) {
				problems = append(problems, selector.Name+" has no label "+matcher.Name)
			}
			problems = append(problems, checkValues(t, matcher)...)
		}
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if aggregate, ok := node.(*parser.AggregateExpr); ok && !aggregate.Without {
			for _, label := range aggregate.Grouping {
				if !slices.Contains(available, label) {
					problems = append(problems, "nothing has the label "+label)
				}
			}
		}
		return nil
	})
	return problems
}

// checkValues: reasons and results that are written out must be documented ones.
func checkValues(t *testing.T, matcher *labels.Matcher) (problems []string) {
	t.Helper()
	if matcher.Name != "reason" && matcher.Name != "result" {
		return nil
	}
	text := read(t, "../../docs/metrics.md")
	for value := range strings.SplitSeq(matcher.Value, "|") {
		if !regexp.MustCompile(`\b` + regexp.QuoteMeta(value) + `\b`).MatchString(text) {
			problems = append(problems, matcher.Name+" is never "+value)
		}
	}
	return problems
}

func TestAlertsAreAboutRealMetrics(t *testing.T) {
	t.Parallel()
	known := metrics(t)
	for _, rule := range readRules(t) {
		for _, problem := range checkQuery(t, known, rule.Expr) {
			t.Errorf("%s: %s", rule.Alert, problem)
		}
	}
}

// The judge sees what is wrong.
func TestCheckQuery(t *testing.T) {
	t.Parallel()
	known := metrics(t)
	const p = "kube_iam_assume_exporter_"
	for expression, want := range map[string]int{
		p + "keys": 0,
		`sum by (pod) (rate(` + p + `deliveries_total{result="refused"}[5m]))`: 0,
		p + "kays":                              1,
		p + `keys{server="x"}`:                  1,
		p + `deliveries_total{result="refuse"}`: 1,
		`sum by (server) (` + p + `keys)`:       1,
		`sum by (`:                              1,
	} {
		if problems := checkQuery(t, known, expression); len(problems) != want {
			t.Errorf("%s: %v", expression, problems)
		}
	}
}
