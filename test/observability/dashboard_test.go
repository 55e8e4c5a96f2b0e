package observability_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardFile = "../../deploy/dashboards/exporter.json"

// dashboard is what a Grafana dashboard has to have to be imported, in the model of schema version 39.
type dashboard struct {
	UID           string  `json:"uid"`
	Title         string  `json:"title"`
	SchemaVersion int     `json:"schemaVersion"`
	Panels        []panel `json:"panels"`
	Templating    struct {
		List []struct {
			Name       string     `json:"name"`
			Type       string     `json:"type"`
			Definition string     `json:"definition"`
			Datasource datasource `json:"datasource"`
		} `json:"list"`
	} `json:"templating"`
}

type panel struct {
	ID         int        `json:"id"`
	Type       string     `json:"type"`
	Title      string     `json:"title"`
	Datasource datasource `json:"datasource"`
	Place      place      `json:"gridPos"`
	Targets    []target   `json:"targets"`
}

type place struct{ X, Y, W, H int }

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type target struct {
	RefID      string     `json:"refId"`
	Expression string     `json:"expr"`
	Legend     string     `json:"legendFormat"`
	Datasource datasource `json:"datasource"`
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	var d dashboard
	if err := json.Unmarshal([]byte(read(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

var grafanaVariable = regexp.MustCompile(`\$\{?(\w+)\}?`)

// expand is what Grafana does before it asks Prometheus.
func expand(t *testing.T, d dashboard, expression string) string {
	t.Helper()
	values := map[string]string{"__rate_interval": "5m"}
	for _, v := range d.Templating.List {
		values[v.Name] = "x"
	}
	return grafanaVariable.ReplaceAllStringFunc(expression, func(variable string) string {
		name := grafanaVariable.FindStringSubmatch(variable)[1]
		value, ok := values[name]
		if !ok {
			t.Errorf("%s: there is no variable %s", expression, name)
		}
		return value
	})
}

func TestDashboardQueries(t *testing.T) {
	t.Parallel()
	d, known := readDashboard(t), metrics(t)
	maps.Copy(known, processMetrics)
	var asked strings.Builder
	for _, p := range d.Panels {
		for _, query := range p.Targets {
			expression := expand(t, d, query.Expression)
			asked.WriteString(expression + "\n")
			for _, problem := range checkQuery(t, known, expression) {
				t.Errorf("%s: %s", p.Title, problem)
			}
			for _, label := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(query.Legend, -1) {
				if !regexp.MustCompile(`by \([^)]*\b` + label[1] + `\b`).MatchString(expression) {
					t.Errorf("%s: the legend has %s, the query does not keep it", p.Title, label[1])
				}
			}
		}
	}
	for name := range known {
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(asked.String()) {
			t.Errorf("no panel shows %s", name)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		match := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`).FindStringSubmatch(v.Definition)
		if match == nil || match[2] != v.Name {
			t.Errorf("variable %s is %q", v.Name, v.Definition)
			continue
		}
		for _, problem := range checkQuery(t, known, fmt.Sprintf("group by (%s) (%s)", match[2], expand(t, d, match[1]))) {
			t.Errorf("variable %s: %s", v.Name, problem)
		}
	}
}

// What Grafana would not import, or show wrongly.
func TestDashboardForm(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.UID == "" || len(d.UID) > 40 || d.Title == "" || d.SchemaVersion != 39 {
		t.Errorf("%q %q, schema %d", d.UID, d.Title, d.SchemaVersion)
	}
	ids, row := map[int]bool{}, ""
	for i, p := range d.Panels {
		if p.ID == 0 || ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: no ID of its own, or no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, other := range d.Panels[:i] {
			if p.Place.overlaps(other.Place) {
				t.Errorf("%q is over %q", p.Title, other.Title)
			}
		}
		if p.Place.W < 1 || p.Place.H < 1 || p.Place.X < 0 || p.Place.X+p.Place.W > 24 {
			t.Errorf("%q is at %+v", p.Title, p.Place)
		}
		if p.Type == "row" {
			row = p.Title
			if !strings.HasSuffix(row, "?") {
				t.Errorf("the row %q is no question", row)
			}
			continue
		}
		if !slices.Contains([]string{"stat", "table", "timeseries"}, p.Type) || row == "" || len(p.Targets) == 0 {
			t.Errorf("%q is a %s with %d queries in row %q", p.Title, p.Type, len(p.Targets), row)
		}
		checkSources(t, p)
	}
}

func checkSources(t *testing.T, p panel) {
	t.Helper()
	want := datasource{Type: "prometheus", UID: "${datasource}"}
	names := map[string]bool{}
	for _, query := range p.Targets {
		if query.Datasource != want || query.RefID == "" || names[query.RefID] {
			t.Errorf("%q: query %q of %+v", p.Title, query.RefID, query.Datasource)
		}
		names[query.RefID] = true
	}
	if p.Datasource != want {
		t.Errorf("%q is of %+v", p.Title, p.Datasource)
	}
}

func (p place) overlaps(q place) bool {
	return p.X < q.X+q.W && q.X < p.X+p.W && p.Y < q.Y+q.H && q.Y < p.Y+p.H
}
