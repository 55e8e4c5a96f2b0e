package values_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/values"
)

const examples = "../../deploy/helm/kube-iam-assume/examples/"

// The outputs of every stack, as the chart's own tests have them.
func TestEveryStack(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(examples + "*output*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		inner, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for form, content := range map[string]any{
			"cdk deploy":                  map[string]any{"prod": map[string]any{"Exporterprodeu1": string(inner), "LogGroupName": "x"}},
			"terraform output":            map[string]any{"exporters": map[string]any{"sensitive": false, "type": []any{"object", map[string]any{"prod-eu1": "string"}}, "value": map[string]any{"prod-eu1": string(inner)}}},
			"terraform output exporters":  map[string]any{"prod-eu1": string(inner)},
			"the values, taken out by jq": json.RawMessage(inner),
		} {
			text, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			all, err := values.Find(text)
			if err != nil {
				t.Fatalf("%s in %s: %v", file, form, err)
			}
			v, err := values.Choose(all, "", "")
			if err != nil || v.Cluster != "prod-eu1" || v.ServiceAccount != "kube-iam-assume/cluster-exporter" || len(v.Destinations) != 1 || v.Destinations[0].Webhook == nil {
				t.Errorf("%s in %s: %+v, %v", file, form, v, err)
			}
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(`{"a":"{\"cluster\":\"c\",\"issuer\":\"https://i\",\"destinations\":[{\"publisher\":\"p\",\"webhook\":{\"url\":\"u\"}}]}"}`))
	f.Add([]byte(`{"cluster":1,"destinations":[]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		all, err := values.Find(file)
		if err != nil {
			if !errors.Is(err, values.ErrNone) && !errors.Is(err, values.ErrConflict) {
				t.Errorf("got %v", err)
			}
			return
		}
		for _, v := range all {
			if v.Cluster == "" || v.Issuer == "" || len(v.Destinations) == 0 {
				t.Errorf("%+v", v)
			}
		}
	})
}
