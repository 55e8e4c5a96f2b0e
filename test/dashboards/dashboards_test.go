package dashboards_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "google.golang.org/api/monitoring/v1"
)

const root = "../../"

// An alarm is one that the Terraform modules make of the function's log, on every cloud.
type alarm struct {
	name, says string
	events     []string
}

var (
	alarmForm = regexp.MustCompile(`(?s)\n    (\w+)\s+= \{ says = "([^"]+)", events = \[(.*?)\]`)
	eventForm = regexp.MustCompile(`"([a-z]+\.[a-z]+)"`)
)

func alarms(t *testing.T) (all []alarm) {
	t.Helper()
	for _, match := range alarmForm.FindAllStringSubmatch(read(t, "deploy/terraform/alarms/outputs.tf"), -1) {
		all = append(all, alarm{match[1], match[2], events(match[3])})
	}
	if len(all) < 8 {
		t.Fatalf("alarms: %v", all)
	}
	return all
}

func events(text string) (all []string) {
	for _, match := range eventForm.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(root + path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// known are all events that the source names.
func known(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, folder := range []string{"shared", "functions"} {
		err := fs.WalkDir(os.DirFS(root+folder), ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
				return err
			}
			for _, event := range events(read(t, folder+"/"+name)) {
				all[event] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A panel is a title and what it asks.
type panel struct{ title, query string }

// check returns what is wrong with panels: an alarm that has none or other events, an event that there is not.
func check(panels []panel, alarms []alarm, known map[string]bool, asks func(alarm) string) (problems []string) {
	for _, a := range alarms {
		title := a.name + ": " + a.says
		i := slices.IndexFunc(panels, func(p panel) bool { return p.title == title })
		if i < 0 {
			problems = append(problems, "no panel "+title)
			continue
		}
		if !strings.Contains(panels[i].query, asks(a)) {
			problems = append(problems, fmt.Sprintf("%s asks %s, want %s", title, panels[i].query, asks(a)))
		}
		last := panels[len(panels)-1]
		for _, event := range a.events {
			if !strings.Contains(last.query, `"`+event+`"`) {
				problems = append(problems, last.title+" lacks "+event)
			}
		}
	}
	for _, p := range panels {
		for _, event := range events(p.query) {
			if !known[event] {
				problems = append(problems, fmt.Sprintf("%s: there is no event %s", p.title, event))
			}
		}
	}
	return problems
}

// Google's own types read the dashboard, strictly.
func readGoogle(text string) (panels []panel, err error) {
	decoder := json.NewDecoder(strings.NewReader(strings.ReplaceAll(strings.ReplaceAll(text, "$${", "<"), "${name}", "prod")))
	decoder.DisallowUnknownFields()
	var d monitoring.Dashboard
	if err := decoder.Decode(&d); err != nil {
		return nil, err
	}
	if d.DisplayName != "kube-iam-assume: prod" || d.MosaicLayout == nil || d.MosaicLayout.Columns != 48 {
		return nil, fmt.Errorf("%q is no mosaic of 48 columns", d.DisplayName)
	}
	for i, tile := range d.MosaicLayout.Tiles {
		for _, other := range d.MosaicLayout.Tiles[:i] {
			if tile.XPos < other.XPos+other.Width && other.XPos < tile.XPos+tile.Width && tile.YPos < other.YPos+other.Height && other.YPos < tile.YPos+tile.Height {
				return nil, fmt.Errorf("%q is over %q", tile.Widget.Title, other.Widget.Title)
			}
		}
		p := panel{title: tile.Widget.Title}
		switch w := tile.Widget; {
		case tile.Width < 1 || tile.Height < 1 || tile.XPos+tile.Width > 48:
			return nil, fmt.Errorf("%q is not on the board", p.title)
		case w.LogsPanel != nil:
			p.query = w.LogsPanel.Filter
		case w.XyChart != nil && len(w.XyChart.DataSets) == 1:
			p.query = w.XyChart.DataSets[0].TimeSeriesQuery.TimeSeriesFilter.Filter
		default:
			return nil, fmt.Errorf("%q shows nothing", p.title)
		}
		panels = append(panels, p)
	}
	return panels, nil
}

func TestGoogle(t *testing.T) {
	t.Parallel()
	all, events, text := alarms(t), known(t), read(t, "deploy/dashboards/google.json")
	judge := func(text string) []string {
		panels, err := readGoogle(text)
		if err != nil {
			return []string{err.Error()}
		}
		return check(panels, all, events, func(a alarm) string { return `metric.type = "logging.googleapis.com/user/prod/` + a.name + `"` })
	}
	for _, problem := range judge(text) {
		t.Error(problem)
	}
	if metric := read(t, "deploy/terraform/gcp/alarms.tf"); !strings.Contains(metric, `name        = "${var.name}/${each.key}"`) {
		t.Error("the metrics have other names now")
	}
	red(t, text, judge, "user/${name}/Fork", "user/${name}/Spoon", `"xyChart"`, `"xyChrt"`, `"yPos": 14`, `"yPos": 0`, "key.gone", "key.went", `\"state.lost\" OR `, "")
}

func readAzure(text string) (panels []panel, err error) {
	var w struct {
		Version string `json:"version"`
		Items   []struct {
			Type    int    `json:"type"`
			Name    string `json:"name"`
			Content struct {
				Version, Query, Title, Visualization, JSON, ResourceType string
				TimeContext                                              struct{ DurationMs int64 }
			} `json:"content"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return nil, err
	}
	if w.Version != "Notebook/1.0" {
		return nil, fmt.Errorf("version %s", w.Version)
	}
	for _, item := range w.Items {
		c := item.Content
		switch {
		case item.Type == 1 && c.JSON != "":
		case item.Type == 3 && c.Version == "KqlItem/1.0" && c.TimeContext.DurationMs > 0 && c.ResourceType == "microsoft.insights/components" && (c.Visualization == "timechart" || c.Visualization == "table"):
			panels = append(panels, panel{c.Title, c.Query})
		default:
			return nil, fmt.Errorf("%q is not an item of a workbook", item.Name)
		}
	}
	return panels, nil
}

func TestAzure(t *testing.T) {
	t.Parallel()
	all, events, text := alarms(t), known(t), read(t, "deploy/dashboards/azure-workbook.json")
	judge := func(text string) []string {
		panels, err := readAzure(text)
		if err != nil {
			return []string{err.Error()}
		}
		return check(panels, all, events, func(a alarm) string { return `where event in ("` + strings.Join(a.events, `", "`) + `")` })
	}
	for _, problem := range judge(text) {
		t.Error(problem)
	}
	red(t, text, judge, `where event in (\"fork.detected\")`, `where event in (\"fork.seen\")`, `"type": 3`, `"type": 9`, "key.gone", "key.went", "Fork: ", "Fork ")
}

// red makes sure that what is spoilt is seen.
func red(t *testing.T, text string, judge func(string) []string, pairs ...string) {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		spoilt := strings.Replace(text, pairs[i], pairs[i+1], 1)
		if spoilt == text || len(judge(spoilt)) == 0 {
			t.Errorf("nobody sees %q instead of %q", pairs[i+1], pairs[i])
		}
	}
}
