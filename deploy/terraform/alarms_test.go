package terraform_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// alarm is what rings it, and in how many periods of five minutes.
type alarm struct {
	events  []string
	periods int64
}

// alarms are those of Terraform.
func (c configuration) alarms(t *testing.T) map[string]alarm {
	t.Helper()
	locals, err := c.blocks("alarms", "locals")
	if err != nil {
		t.Fatal(err)
	}
	value, diagnostics := locals[0].find("alarms").Value(nil)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	all := map[string]alarm{}
	for name, made := range value.AsValueMap() {
		a := alarm{periods: 1}
		for _, event := range made.GetAttr("events").AsValueSlice() {
			a.events = append(a.events, event.AsString())
		}
		if made.Type().HasAttribute("periods") {
			a.periods, _ = made.GetAttr("periods").AsBigFloat().Int64()
		}
		all[name] = a
	}
	return all
}

// Every alarm of AWS rings on every cloud for the same events, as many times; what is more here comes from code that AWS's function does not have.
func TestAlarms(t *testing.T) {
	t.Parallel()
	c := load(t)
	ours, aws := c.alarms(t), alarmsOfAWS(t)
	for name, a := range aws {
		for _, event := range a.events {
			if !slices.Contains(ours[name].events, event) {
				t.Errorf("AWS's alarm %s rings for %s, that of Terraform does not", name, event)
			}
		}
		if ours[name].periods != a.periods {
			t.Errorf("AWS's alarm %s rings after %d periods, that of Terraform after %d", name, a.periods, ours[name].periods)
		}
	}
	source := goText(t, "shared", "functions")
	documented := documents(t, "aws", "gcp", "azure")
	for name, a := range ours {
		if aws[name].events == nil {
			t.Errorf("AWS has no alarm %s", name)
		}
		for _, event := range a.events {
			if !slices.Contains(aws[name].events, event) && !strings.HasPrefix(event, "target.") {
				t.Errorf("the alarm %s rings for %s, that of AWS does not", name, event)
			}
			if !strings.Contains(source, `"`+event+`"`) {
				t.Errorf("nothing in the Go code says %s, which the alarm %s waits for", event, name)
			}
			if !strings.Contains(documented, "`"+event+"`") {
				t.Errorf("no documentation says what to do about %s", event)
			}
		}
	}
}

// alarmsOfAWS reads cdk/stack/alarms.go: its list of alarms, and the one for stacks with mirrors.
func alarmsOfAWS(t *testing.T) map[string]alarm {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "cdk/stack/alarms.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]alarm{}
	ast.Inspect(file, func(node ast.Node) bool {
		literal, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		fields := map[string][]string{}
		for _, element := range literal.Elts {
			if pair, ok := element.(*ast.KeyValueExpr); ok {
				fields[fmt.Sprint(pair.Key)] = words(pair.Value)
			}
		}
		if len(fields["name"]) == 1 && len(fields["events"]) > 0 {
			a := alarm{events: fields["events"], periods: 1}
			if fields["periods"] != nil {
				if a.periods, err = strconv.ParseInt(fields["periods"][0], 10, 64); err != nil {
					t.Error(err)
				}
			}
			all[fields["name"][0]] = a
		}
		return true
	})
	if diff := cmp.Diff(alarm{events: []string{"mirror.differs", "mirror.failed"}, periods: 3}, all["Mirror"], cmp.AllowUnexported(alarm{})); len(all) < 8 || diff != "" {
		t.Fatalf("only %d alarms in cdk/stack/alarms.go: %v\nMirror: %s", len(all), all, diff)
	}
	return all
}

// words are the strings and numbers of an expression.
func words(expression ast.Expr) []string {
	var all []string
	ast.Inspect(expression, func(node ast.Node) bool {
		literal, ok := node.(*ast.BasicLit)
		if !ok {
			return true
		}
		word := literal.Value
		if unquoted, err := strconv.Unquote(word); err == nil {
			word = unquoted
		}
		all = append(all, word)
		return true
	})
	return all
}

// An alarm's text sends people to a section, which must be there.
func TestAlarmsAreDocumented(t *testing.T) {
	t.Parallel()
	c := load(t)
	anchors := map[string]bool{}
	for _, cloud := range []string{"aws", "gcp", "azure"} {
		for _, match := range regexp.MustCompile(`(?m)^### (Alarm [a-z]+)$`).FindAllStringSubmatch(documents(t, cloud), -1) {
			anchors[fmt.Sprintf("docs/%s.md#%s", cloud, strings.ReplaceAll(strings.ToLower(match[1]), " ", "-"))] = true
		}
	}
	link := regexp.MustCompile(`docs/(?:aws|gcp|azure)\.md#alarm-(?:[a-z]+|\$\{lower\(each\.key\)\})`)
	for _, folder := range []string{"gcp", "azure"} {
		links := link.FindAllString(c[folder+"/alarms.tf"], -1)
		if len(links) != 4 {
			t.Errorf("%s: %d links to what to do, want those of the events, the platform's metrics, the silence and the dead letters", folder, len(links))
		}
		for _, to := range links {
			for _, name := range linked(to, c.alarms(t)) {
				if !anchors[name] {
					t.Errorf("%s: there is no section %s", folder, name)
				}
			}
		}
	}
}

// linked are the links that one with each.key in it stands for.
func linked(link string, alarms map[string]alarm) []string {
	before, varies := strings.CutSuffix(link, "${lower(each.key)}")
	if !varies {
		return []string{link}
	}
	keys := slices.Sorted(maps.Keys(alarms))
	if !strings.Contains(link, "aws.md") {
		keys = []string{"Errors", "Throttles"}
	}
	for i, key := range keys {
		keys[i] = before + strings.ToLower(key)
	}
	return keys
}

var alarmGuards = []guard{
	{name: "an alarm of several periods waits for them", check: alarmPeriods, red: []spoil{
		{"on Google Cloud it rings at once", "gcp/alarms.tf", `each.value.periods == 1 ? "0s" : "${each.value.periods * 300}s"`, `"0s"`},
		{"on Google Cloud a quiet period counts", "gcp/alarms.tf", `"EVALUATION_MISSING_DATA_INACTIVE"`, `"EVALUATION_MISSING_DATA_ACTIVE"`},
		{"on Azure it rings at once", "azure/alarms.tf", `trigger_alert = failing_periods.value`, `trigger_alert = 1`},
		{"on Azure its periods are long", "azure/alarms.tf", `each.value.periods == 1 ? local.window : "PT5M"`, `local.window`},
		{"on Azure late lines are never seen", "azure/alarms.tf", `PT15M = "PT30M"`, `PT15M = "PT15M"`},
	}},
	{name: "the alarm about mirrors is where there are mirrors", check: alarmMirrors, red: []spoil{
		{"it is nowhere", "alarms/outputs.tf", `if name != "Mirror" || var.mirrored`, `if name != "Mirror"`},
		{"it is everywhere", "alarms/outputs.tf", ` if name != "Mirror" || var.mirrored`, ``},
		{"it is not on a mirror", "gcp/main.tf", ` || var.mirror_of != null`, ``},
		{"it is not beside mirrors", "azure/main.tf", `length(var.mirrors) > 0 || `, ``},
	}},
}

func alarmPeriods(c configuration) error {
	policy, err := c.resource("gcp", "google_monitoring_alert_policy", "event")
	if err != nil {
		return err
	}
	rule, err := c.resource("azure", "azurerm_monitor_scheduled_query_rules_alert_v2", "event")
	if err != nil {
		return err
	}
	failing := "criteria.dynamic.content."
	for _, want := range []struct {
		in       block
		at, text string
	}{
		{policy, "conditions.condition_threshold.duration", `each.value.periods == 1 ? "0s" : "${each.value.periods * 300}s"`},
		{policy, "conditions.condition_threshold.evaluation_missing_data", `each.value.periods == 1 ? null : "EVALUATION_MISSING_DATA_INACTIVE"`},
		{policy, "conditions.condition_threshold.aggregations.alignment_period", `"300s"`},
		{rule, "window_duration", `each.value.periods == 1 ? local.window : "PT5M"`},
		{rule, "evaluation_frequency", `each.value.periods == 1 ? var.alarm_frequency : "PT5M"`},
		{rule, failing + "minimum_failing_periods_to_trigger_alert", `failing_periods.value`},
		{rule, failing + "number_of_evaluation_periods", `failing_periods.value + 1`},
		{rule, "criteria.dynamic.for_each", `each.value.periods == 1 ? [] : [each.value.periods]`},
	} {
		if got := want.in.source(want.at); got != want.text {
			return fmt.Errorf("%s: %s is %q, want %s", want.in.address(), want.at, got, want.text)
		}
	}
	if want := `window = { PT5M = "PT15M", PT10M = "PT30M", PT15M = "PT30M" }[var.alarm_frequency]`; !strings.Contains(c["azure/alarms.tf"], want) {
		return fmt.Errorf("lines that come late may never be seen: want %s", want)
	}
	return nil
}

func alarmMirrors(c configuration) error {
	for file, want := range map[string]string{
		"alarms/outputs.tf": `if name != "Mirror" || var.mirrored }`,
		"gcp/main.tf":       `mirrored = length(var.mirrors) > 0 || var.mirror_of != null`,
		"azure/main.tf":     `mirrored = length(var.mirrors) > 0 || var.mirror_of != null`,
	} {
		if !strings.Contains(c[file], want) {
			return fmt.Errorf("%s lacks %s", file, want)
		}
	}
	return nil
}
