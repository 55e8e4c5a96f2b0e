package observability_test

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/storage"
	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/test/observability"
)

const (
	chart = "../../deploy/helm/kube-iam-assume"
	cases = "alerts.test.yaml"
)

// caseFile is the form of `promtool test rules`.
type caseFile struct {
	RuleFiles          []string       `yaml:"rule_files"`
	EvaluationInterval model.Duration `yaml:"evaluation_interval"`
	Tests              []testCase     `yaml:"tests"`
}

type testCase struct {
	Name     string         `yaml:"name"`
	Interval model.Duration `yaml:"interval"`
	Series   []struct {
		Series string `yaml:"series"`
		Values string `yaml:"values"`
	} `yaml:"input_series"`
	Alerts []expectation `yaml:"alert_rule_test"`
}

type expectation struct {
	At     model.Duration        `yaml:"eval_time"`
	Alert  string                `yaml:"alertname"`
	Firing []observability.Alert `yaml:"exp_alerts"`
}

func readRules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	groups, problems := rulefmt.ParseFile(chart+"/alerts.yaml", false, model.UTF8Validation, observability.Parser(), slog.New(slog.DiscardHandler))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var rules []rulefmt.Rule
	for _, group := range groups.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules
}

func readCases(t *testing.T) caseFile {
	t.Helper()
	data, err := os.ReadFile(cases)
	if err != nil {
		t.Fatal(err)
	}
	var file caseFile
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(file.RuleFiles, []string{chart + "/alerts.yaml"}) {
		t.Fatalf("%s is about %v", cases, file.RuleFiles)
	}
	return file
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	rules, file := readRules(t), readCases(t)
	for _, test := range file.Tests {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			for _, problem := range run(t, rules, test, time.Duration(file.EvaluationInterval)) {
				t.Error(problem)
			}
		})
	}
}

// run evaluates the rules from time 0 on, and returns what is not as expected.
func run(t *testing.T, rules []rulefmt.Rule, test testCase, every time.Duration) (problems []string) {
	t.Helper()
	var all []storage.Series
	for _, s := range test.Series {
		series, err := observability.ParseSeries(s.Series, s.Values, time.Duration(test.Interval))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, series)
	}
	prometheus := observability.NewPrometheus(rules, observability.Queryable(all))
	slices.SortStableFunc(test.Alerts, func(a, b expectation) int { return cmp.Compare(a.At, b.At) })
	var evaluated time.Duration
	var firing map[string][]observability.Alert
	for next, alerts := time.Duration(0), test.Alerts; len(alerts) > 0; next += every {
		for len(alerts) > 0 && time.Duration(alerts[0].At) < next {
			problems = append(problems, alerts[0].compare(firing[alerts[0].Alert])...)
			alerts = alerts[1:]
		}
		var err error
		if firing, err = prometheus.Evaluate(t.Context(), time.UnixMilli(0).Add(next)); err != nil {
			t.Fatalf("after %s: %v", evaluated, err)
		}
		evaluated = next
	}
	return problems
}

func (e expectation) compare(got []observability.Alert) []string {
	order := func(alerts []observability.Alert) []string {
		var texts []string
		for _, alert := range alerts {
			labels := maps.Clone(alert.Labels)
			delete(labels, "alertname")
			texts = append(texts, fmt.Sprintf("labels %v annotations %v", labels, alert.Annotations))
		}
		slices.Sort(texts)
		return texts
	}
	if want, got := order(e.Firing), order(got); !slices.Equal(want, got) {
		return []string{fmt.Sprintf("%s after %s fires\n%s\nwant\n%s", e.Alert, e.At, strings.Join(got, "\n"), strings.Join(want, "\n"))}
	}
	return nil
}

// Every alert is seen to fire and seen to be silent; whatever makes one fire too early, too late or never is seen.
func TestEveryAlertIsTested(t *testing.T) {
	t.Parallel()
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range readCases(t).Tests {
		for _, e := range test.Alerts {
			fires[e.Alert], silent[e.Alert] = fires[e.Alert] || len(e.Firing) > 0, silent[e.Alert] || len(e.Firing) == 0
		}
	}
	for _, rule := range readRules(t) {
		if !fires[rule.Alert] || !silent[rule.Alert] {
			t.Errorf("%s is seen to fire: %t, to be silent: %t", rule.Alert, fires[rule.Alert], silent[rule.Alert])
		}
		delete(fires, rule.Alert)
	}
	if len(fires) > 0 {
		t.Errorf("there are no alerts %v", slices.Collect(maps.Keys(fires)))
	}
}

// The cases see rules that are wrong.
func TestMutants(t *testing.T) {
	t.Parallel()
	file := readCases(t)
	for name, mutate := range map[string]func(*rulefmt.Rule) bool{
		"waits ten minutes longer": func(r *rulefmt.Rule) bool { r.For += model.Duration(10 * time.Minute); return true },
		"does not wait":            func(r *rulefmt.Rule) bool { changed := r.For > 0; r.For = 0; return changed },
		"never fires":              func(r *rulefmt.Rule) bool { r.Expr = "(" + r.Expr + ") and vector(0) > 1"; return true },
		"says nothing":             func(r *rulefmt.Rule) bool { r.Annotations = nil; return true },
		"has another severity":     func(r *rulefmt.Rule) bool { r.Labels = map[string]string{"severity": "x"}; return true },
		"has a threshold ten times": func(r *rulefmt.Rule) bool {
			return replace(&r.Expr, "> 300", "> 3000", "> 2100", "> 21000", "> 60", "> 600")
		},
		"confuses clusters":          func(r *rulefmt.Rule) bool { return replace(&r.Expr, "by (cluster, ", "by (") },
		"looks at one replica alone": func(r *rulefmt.Rule) bool { return replace(&r.Expr, "time() - max by", "time() - min by") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mutants := 0
			for i, rule := range readRules(t) {
				if !mutate(&rule) {
					continue
				}
				mutants++
				rules := readRules(t)
				rules[i] = rule
				seen := false
				for _, test := range file.Tests {
					seen = seen || len(run(t, rules, test, time.Duration(file.EvaluationInterval))) > 0
				}
				if !seen {
					t.Errorf("nobody sees it of %s", rule.Alert)
				}
			}
			if mutants == 0 {
				t.Error("no rule was changed")
			}
		})
	}
}

func replace(text *string, pairs ...string) bool {
	before := *text
	*text = strings.NewReplacer(pairs...).Replace(before)
	return *text != before
}
