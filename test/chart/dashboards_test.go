package chart_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	core "k8s.io/api/core/v1"
)

// Helm reads nothing outside the chart, so that it has a copy of each dashboard for Grafana; the original is in deploy/dashboards.
func TestDashboardsAreTheOriginals(t *testing.T) {
	t.Parallel()
	copies := dashboards(t)
	for _, file := range copies {
		original := "../../deploy/dashboards/" + filepath.Base(file)
		if !bytes.Equal(contents(t, file), contents(t, original)) {
			t.Errorf("%s is not %s: cp %s %s", file, original, strings.TrimPrefix(original, "../../"), strings.TrimPrefix(file, "../../"))
		}
	}
}

// The sidecar of Grafana's chart finds every dashboard, to the byte, by the label it looks for, and finds none unless it is wanted.
func TestDashboards(t *testing.T) {
	t.Parallel()
	webhook := []string{"--values", folder + "/examples/webhook.yaml"}
	on := append(slices.Clone(webhook), "--set", "monitoring.dashboards.enabled=true")
	cases := []struct {
		name      string
		arguments []string
		labels    map[string]string // nil where there is to be no dashboard
	}{
		{"default", webhook, nil},
		{"wanted", on, map[string]string{"grafana_dashboard": "1"}},
		{"another label", append(slices.Clone(on), "--set", "monitoring.dashboards.label=example.com/board,monitoring.dashboards.labelValue=yes"), map[string]string{"example.com/board": "yes"}},
		{"beside a publisher", []string{"--values", folder + "/examples/publisher.yaml", "--set", "monitoring.dashboards.enabled=true"}, map[string]string{"grafana_dashboard": "1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			all := render(t, c.arguments...)
			found := map[string]string{}
			for _, object := range all {
				if object.GetKind() != "ConfigMap" || !strings.Contains(object.GetName(), "dashboard") {
					continue
				}
				for label, value := range c.labels {
					if object.GetLabels()[label] != value {
						t.Errorf("%s has the labels %v", object.GetName(), object.GetLabels())
					}
				}
				maps.Copy(found, as[core.ConfigMap](t, all, "ConfigMap", object.GetName()).Data)
			}
			want := map[string]string{}
			if c.labels != nil {
				for _, file := range dashboards(t) {
					want["kube-iam-assume-"+filepath.Base(file)] = string(contents(t, file))
				}
			}
			if !maps.Equal(found, want) {
				t.Errorf("dashboards %v, want %v", slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(want)))
			}
		})
	}
}

// dashboards are the chart's: JSON that Grafana takes as provisioned, where nobody is asked for a data source.
func dashboards(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(folder + "/dashboards/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("the chart's dashboards: %v, %v", files, err)
	}
	for _, file := range files {
		var dashboard map[string]any
		if err := json.Unmarshal(contents(t, file), &dashboard); err != nil || dashboard["uid"] == nil || dashboard["__inputs"] != nil {
			t.Errorf("%s is no dashboard that can be provisioned: uid %v, inputs %v, %v", file, dashboard["uid"], dashboard["__inputs"], err)
		}
	}
	return files
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
