package chart_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// The stacks' outputs are values as they come. What they look like is taken from the stacks' own tests.
func TestStackOutputs(t *testing.T) {
	t.Parallel()
	outputs := cdkOutputs(t)
	for _, file := range []string{"gcp/gcp.tftest.hcl", "azure/azure.tftest.hcl"} {
		outputs[file] = terraformOutput(t, file)
	}
	for name, output := range outputs {
		file := filepath.Join(t.TempDir(), "values.json")
		if err := os.WriteFile(file, output, 0o600); err != nil {
			t.Fatal(err)
		}
		all := render(t, "--values", file)
		settings := exporterSettings(t, all)
		checkTokens(t, all, settings)
		if len(settings.Destinations) != 1 || settings.Destinations[0].Webhook == nil {
			t.Errorf("%s: %+v", name, settings.Destinations)
		}
	}
	if len(outputs) < 4 {
		t.Errorf("only %d outputs", len(outputs))
	}
}

// cdkOutputs are the exporters' values in the AWS stack's template, with examples for what only a deploy knows.
func cdkOutputs(t *testing.T) map[string][]byte {
	t.Helper()
	data, err := os.ReadFile("../../cdk/stack/testdata/bucket.template.json")
	if err != nil {
		t.Fatal(err)
	}
	var template struct {
		Outputs map[string]struct{ Value any }
	}
	if err := json.Unmarshal(data, &template); err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for name, output := range template.Outputs {
		if len(name) > 8 && name[:8] == "Exporter" {
			found["CDK "+name] = []byte(deployed(t, output.Value))
		}
	}
	return found
}

// deployed does what CloudFormation does with a value.
func deployed(t *testing.T, value any) string {
	t.Helper()
	if text, ok := value.(string); ok {
		return text
	}
	function, _ := value.(map[string]any)
	switch {
	case function["Fn::GetAtt"] != nil:
		return "arn:aws:iam::111122223333:role/prod-ExporterRole"
	case function["Ref"] != nil:
		if name := fmt.Sprint(function["Ref"]); name[:3] == "Api" {
			return "abc"
		}
		return "https://sqs.eu-central-1.amazonaws.com/111122223333/prod-Queue"
	}
	join, ok := function["Fn::Join"].([]any)
	if !ok || len(join) != 2 {
		t.Fatalf("%v is not known", value)
	}
	separator, _ := join[0].(string)
	parts, _ := join[1].([]any)
	joined := ""
	for i, part := range parts {
		if i > 0 {
			joined += separator
		}
		joined += deployed(t, part)
	}
	return joined
}

// terraformOutput is what a module's own test says of its output.
func terraformOutput(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile("../../deploy/terraform/" + file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, problems := hclsyntax.ParseConfig(data, file, hcl.InitialPos)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	var found []byte
	_ = hclsyntax.VisitAll(parsed.Body.(*hclsyntax.Body), func(node hclsyntax.Node) hcl.Diagnostics {
		object, ok := node.(*hclsyntax.ObjectConsExpr)
		if !ok {
			return nil
		}
		value, problems := object.Value(nil)
		if problems.HasErrors() || !value.Type().IsObjectType() || !value.Type().HasAttribute("destinations") {
			return nil
		}
		found, err = ctyjson.Marshal(value, value.Type())
		return nil
	})
	if err != nil || found == nil {
		t.Fatalf("%s says nothing of the exporters' values: %v", file, err)
	}
	return found
}
