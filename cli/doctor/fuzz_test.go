package doctor

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
)

func FuzzMetrics(f *testing.F) {
	f.Add([]byte("kube_iam_assume_exporter_problem{about=\"p \\\"x\\\"\\n\",reason=\"SnapshotRefused\"} 1\n# HELP x\n"))
	f.Add([]byte("kube_iam_assume_exporter_keys NaN"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := parseMetrics(data)
		if (m.err == nil) != (len(m.samples) > 0) {
			t.Fatalf("%d samples and %v", len(m.samples), m.err)
		}
		for _, s := range m.samples {
			if s.name == "" || strings.HasPrefix(s.name, prefix) {
				t.Fatalf("sample %+v", s)
			}
		}
	})
}

func FuzzExporterSettings(f *testing.F) {
	f.Add([]byte("apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Exporter\ncluster: a\nissuer: https://b\ndestinations: [{publisher: c, sqs: {}}]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseExporter(File{"f", data})
		if err == nil && (s.Cluster == "" || len(s.Destinations) == 0) {
			t.Fatalf("%+v", s)
		}
	})
}

// What the exporter's own settings have and doctor's reading has not would be refused as a typing error.
func TestEveryFieldOfTheExporterIsKnown(t *testing.T) {
	t.Parallel()
	for name, types := range map[string][2]reflect.Type{
		"Exporter":    {reflect.TypeFor[exporter.Settings](), reflect.TypeFor[exporterFile]()},
		"destination": {reflect.TypeFor[exporter.Destination](), reflect.TypeFor[destination]()},
	} {
		if theirs, ours := tags(types[0]), tags(types[1]); !slices.Equal(theirs, ours) {
			t.Errorf("%s: the exporter has %v, doctor reads %v", name, theirs, ours)
		}
	}
}

func tags(of reflect.Type) []string {
	var all []string
	for field := range of.Fields() {
		all = append(all, field.Tag.Get("yaml"))
	}
	slices.Sort(all)
	return all
}
