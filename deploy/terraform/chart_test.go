package terraform_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
)

// The chart's examples of what the modules put out have the names that the modules give.
func TestChartExamples(t *testing.T) {
	t.Parallel()
	c := load(t)
	gcp := names{c, "gcp", map[string]string{"name": c.byDefault(t, "gcp", "name"), "project_id": "example-project"}}
	const pool = "projects/111122223333/locations/global/workloadIdentityPools/"
	compareExample(t, "gcp", exporter.Settings{
		Issuer: "https://storage.googleapis.com/example-oidc/prod-eu1",
		Destinations: []exporter.Destination{{
			Publisher: gcp.local(t, "publisher"),
			Webhook:   &exporter.Webhook{URL: "https://" + gcp.vars["name"] + "-webhook-abc-ew.a.run.app/v1/snapshots"},
			PubSub: &exporter.PubSub{
				Topic:    "projects/example-project/topics/" + gcp.resource(t, "google_pubsub_topic", "snapshots"),
				Provider: pool + c.byDefault(t, "gcp", "pool_id") + "/providers/prod-eu1",
			},
		}},
	})
	azure := names{c, "azure", map[string]string{"name": "example-oidc", "account": "exampleoidc"}}
	compareExample(t, "azure", exporter.Settings{
		Issuer: "https://exampleoidc.blob.core.windows.net/documents/prod-eu1",
		Destinations: []exporter.Destination{{
			Publisher: azure.local(t, "publisher"),
			Webhook:   &exporter.Webhook{URL: "https://" + azure.vars["name"] + ".azurewebsites.net/v1/snapshots"},
			StorageQueue: &exporter.StorageQueue{
				URL:      "https://" + azure.resource(t, "azurerm_storage_account", "host") + ".queue.core.windows.net/" + azure.local(t, "queue"),
				TenantID: "00000000-0000-0000-0000-000000000001", ClientID: "00000000-0000-0000-0000-000000000002",
			},
		}},
	})
}

func compareExample(t *testing.T, cloud string, want exporter.Settings) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "deploy/helm/kube-iam-assume/examples/terraform-output-"+cloud+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var got exporter.Settings
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	want.Cluster, want.ServiceAccount = "prod-eu1", exporter.DefaultServiceAccount
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("terraform-output-%s.json: -module +example:\n%s", cloud, diff)
	}
}

// names are those that a module gives with some variables.
type names struct {
	configuration

	folder string
	vars   map[string]string
}

func (n names) resource(t *testing.T, kind, name string) string {
	t.Helper()
	b, err := n.configuration.resource(n.folder, kind, name)
	if err != nil {
		t.Fatal(err)
	}
	return n.value(t, b, "name")
}

func (n names) local(t *testing.T, name string) string {
	t.Helper()
	locals, err := n.blocks(n.folder, "locals")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range locals {
		if b.find(name) != nil {
			return n.value(t, b, name)
		}
	}
	t.Fatalf("%s has no local %s", n.folder, name)
	return ""
}

func (n names) value(t *testing.T, b block, at string) string {
	t.Helper()
	vars := map[string]cty.Value{}
	for name, value := range n.vars {
		vars[name] = cty.StringVal(value)
	}
	value, diagnostics := b.find(at).Value(&hcl.EvalContext{Variables: map[string]cty.Value{"var": cty.ObjectVal(vars)}})
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	return value.AsString()
}

func (c configuration) byDefault(t *testing.T, folder, name string) string {
	t.Helper()
	variable, err := c.variable(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Trim(variable.source("default"), `"`)
}
