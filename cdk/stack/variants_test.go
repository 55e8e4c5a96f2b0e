package stack_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// What the kept templates don't show: the other doors, regions and limits.
var variants = []struct {
	name, mode string
	change     []string // old, new, ...
	has, not   []string // resource types
	webhook    string   // part of what exporters are told; empty for none
}{
	{
		name: "a Function URL alone", mode: "bucket",
		change: []string{"dashboard: true", "webhook: functionURL\nqueue: false\nreservedConcurrency: 5", "alarms: {email: oncall@example.com}\n", ""},
		has:    []string{"AWS::Lambda::Url"}, not: []string{"AWS::ApiGatewayV2::Api", "AWS::SQS::Queue", "AWS::SNS::Topic", "AWS::CloudWatch::Dashboard"},
		webhook: "FunctionUrl",
	},
	{
		name: "the queue alone", mode: "bucket", change: []string{"dashboard: true", "webhook: none"},
		has: []string{"AWS::SQS::Queue"}, not: []string{"AWS::ApiGatewayV2::Api", "AWS::Lambda::Url"},
	},
	{
		name: "a region without account-regional names", mode: "bucket", change: []string{"eu-central-1", "me-south-1", "prefix: oidc", "name: example-oidc"},
		has: []string{"AWS::ApiGatewayV2::Api"}, webhook: ".execute-api.me-south-1.amazonaws.com/v1/snapshots",
	},
	{
		name: "China", mode: "bucket", change: []string{"eu-central-1", "cn-north-1", "arn:aws:", "arn:aws-cn:"},
		has: []string{"AWS::ApiGatewayV2::Api"}, webhook: ".execute-api.cn-north-1.amazonaws.com.cn/v1/snapshots",
	},
	{
		name: "GovCloud", mode: "bucket", change: []string{"eu-central-1", "us-gov-west-1", "arn:aws:", "arn:aws-us-gov:"},
		has: []string{"AWS::ApiGatewayV2::Api"}, webhook: ".execute-api.us-gov-west-1.amazonaws.com/v1/snapshots",
	},
	{
		name: "CloudFront before a Function URL, and a long name", mode: "cloudfront",
		change: []string{"name: prod\n", "name: " + strings.Repeat("n", 100) + "\n", "dashboard: true", "webhook: functionURL"},
		has:    []string{"AWS::CloudFront::Distribution", "AWS::Lambda::Url"}, webhook: "https://oidc.example.com/v1/snapshots",
	},
}

// Every variant keeps every promise, and CloudFormation has nothing to say against it.
func TestVariants(t *testing.T) {
	for _, v := range variants {
		file := changed(t, v.mode, v.change...)
		made, found := validatedTemplate(t, file)
		if found != "[]" {
			t.Errorf("%s: %s", v.name, found)
		}
		made.silent = file.Email == "" && file.TopicARN == ""
		for _, g := range guards {
			if err := g.check(made); err != nil {
				t.Errorf("%s: %s: %v", v.name, g.name, err)
			}
		}
		for kind, want := range kinds(v.has, v.not) {
			if got := len(made.of(kind)) > 0; got != want {
				t.Errorf("%s: it has a %s: %v, want %v", v.name, kind, got, want)
			}
		}
		told := exporterValues(t, made, "prod-eu1")
		destination := told["destinations"].([]any)[0].(map[string]any)
		if url, given := at(destination, "webhook", "url").(string); given != (v.webhook != "") || !strings.Contains(url, v.webhook) {
			t.Errorf("%s: exporters are told %v, want %q", v.name, destination["webhook"], v.webhook)
		}
		if _, queue := destination["sqs"]; queue != (len(made.of("AWS::SQS::Queue")) > 0) {
			t.Errorf("%s: exporters are told %v", v.name, destination)
		}
	}
}

func kinds(has, not []string) map[string]bool {
	all := map[string]bool{}
	for _, kind := range slices.Concat(has, not) {
		all[kind] = slices.Contains(has, kind)
	}
	return all
}

// changed loads the settings of a mode with changes.
func changed(t *testing.T, mode string, change ...string) stackfile.Stack {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("../stackfile/testdata")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(folder, mode+".yaml")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(change, 2) {
		if !bytes.Contains(data, []byte(pair[0])) {
			t.Fatalf("%s.yaml has no %q", mode, pair[0])
		}
		data = bytes.ReplaceAll(data, []byte(pair[0]), []byte(pair[1]))
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := stackfile.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// exporterValues is the output for a cluster's exporter, with references as text.
func exporterValues(t *testing.T, made template, cluster string) map[string]any {
	t.Helper()
	output := text(at(made.Outputs["Exporter"+strings.ReplaceAll(cluster, "-", "")], "Value"))
	var values map[string]any
	if err := json.Unmarshal([]byte(output), &values); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	return values
}

// What the stack tells the exporters is what they read.
func TestExportersUnderstand(t *testing.T) {
	data, err := os.ReadFile("../../cluster-exporter/exporter/schema/exporter.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	values := exporterValues(t, synthesize(t, "bucket"), "prod-eu1")
	values["apiVersion"], values["kind"] = "config.kube-iam-assume.dev/v1alpha1", "Exporter" // which the chart adds
	if err := resolved.Validate(values); err != nil {
		t.Error(err)
	}
	sqs := at(values, "destinations", 0, "sqs")
	if text(at(sqs, "roleARN")) != "<ExporterRoleprodeu1.Arn>" || at(sqs, "region") != "eu-central-1" || !strings.HasPrefix(text(at(sqs, "url")), "<Queue") ||
		at(values, "destinations", 0, "publisher") != "prod/111122223333" || values["serviceAccount"] != "kube-iam-assume/cluster-exporter" ||
		values["issuer"] != "https://oidc-111122223333-eu-central-1-an.s3.eu-central-1.amazonaws.com/prod-eu1" {
		t.Errorf("got %v", values)
	}
	values["webhok"] = ""
	if resolved.Validate(values) == nil {
		t.Error("a misspelt field is not seen")
	}
}
