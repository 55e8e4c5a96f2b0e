// Package cel_test evaluates the attribute mappings and conditions of gcp/trust/mapping as Google does: with Google's own implementation of CEL, on the
// claims of tokens as API servers issue them. It is a module of its own, to keep CEL out of the product's dependencies.
package cel_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
)

const module = "../../gcp/trust/mapping"

// provider is what Terraform makes of a cluster.
type provider struct {
	Mapping   map[string]string `json:"mapping"`
	Condition string            `json:"condition"`
}

// made applies the module, which has no resources, with variables beside the usual ones.
func made(t *testing.T, variables map[string]any) map[string]provider {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS(module)); err != nil {
		t.Fatal(err)
	}
	exporter := map[string]string{"subject": "system:serviceaccount:kube-iam-assume:cluster-exporter", "namespace": "kube-iam-assume", "name": "cluster-exporter"}
	all := map[string]any{
		"pool": "projects/1/locations/global/workloadIdentityPools/kubernetes", "admit": "serviceAccounts", "admit_exporters": true, "admit_unbound": false,
		"clusters": map[string]any{
			"prod-eu1": map[string]any{"issuer": "https://oidc.example.com/prod-eu1", "exporter": exporter},
			"dev":      map[string]any{"issuer": "https://oidc.example.com/dev", "exporter": exporter},
		},
		"workloads": map[string]any{"w": workload("prod-eu1", "production", "payments"), "l": workload("prod-eu1", long, long), "d": workload("dev", "production", "other")},
	}
	maps.Copy(all, variables)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "terraform.tfvars.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	terraform(t, folder, "init", "-backend=false")
	terraform(t, folder, "apply", "-auto-approve")
	var providers map[string]provider
	if err := json.Unmarshal(terraform(t, folder, "output", "-json", "providers"), &providers); err != nil {
		t.Fatal(err)
	}
	return providers
}

func terraform(t *testing.T, folder string, arguments ...string) []byte {
	t.Helper()
	command := exec.CommandContext(t.Context(), "terraform", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_CLI_ARGS=-no-color")
	var said strings.Builder
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		t.Fatalf("terraform %v: %v\n%s%s", arguments, err, out, said.String())
	}
	return out
}

func workload(cluster, namespace, name string) map[string]string {
	return map[string]string{"account": namespace + "/" + name, "namespace": namespace, "name": name, "cluster": cluster, "subject": "system:serviceaccount:" + namespace + ":" + name}
}

var long = "a-name-of-sixty-three-characters-which-a-namespace-can-have-at-mos"[:63]

// claims are those of a token of kube-apiserver's; pod "" for one that is not bound.
func claims(namespace, name, pod string) map[string]any {
	private := map[string]any{
		"namespace":      namespace,
		"serviceaccount": map[string]any{"name": name, "uid": "5b2d1a3c-8a53-4f6e-9a0e-0c2f5d8e7b11"},
	}
	if pod != "" {
		private["pod"] = map[string]any{"name": pod, "uid": "f3c1f0a4-0f4c-4a37-8a4a-3f6f1f9d2c22"}
		private["node"] = map[string]any{"name": "node-1", "uid": "0d4b9f66-41d8-4e3b-9e1e-2f8c5d1a7b33"}
	}
	return map[string]any{
		"aud": []any{"https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/kubernetes/providers/prod-eu1"},
		"exp": 1790003600, "iat": 1790000000, "nbf": 1790000000, "iss": "https://oidc.example.com/prod-eu1", "jti": "1",
		"sub": "system:serviceaccount:" + namespace + ":" + name, "kubernetes.io": private,
	}
}

// admitted says whether a provider takes a token, and as whom.
func (p provider) admitted(t *testing.T, assertion map[string]any) (map[string]string, bool) {
	t.Helper()
	attributes := map[string]string{}
	for name, expression := range p.Mapping {
		value, err := evaluate(t, expression, map[string]any{"assertion": assertion})
		if err != nil {
			return nil, false // Google refuses a token whose attributes can't be mapped
		}
		text, ok := value.(string)
		if !ok {
			t.Fatalf("%s is no string: %v", name, value)
		}
		attributes[name] = text
	}
	if len(attributes["google.subject"]) > 127 {
		return nil, false
	}
	value, err := evaluate(t, p.Condition, map[string]any{"assertion": assertion})
	return attributes, err == nil && value == true
}

// evaluate fails the test on an expression that is none; the error is of an evaluation.
func evaluate(t *testing.T, expression string, variables map[string]any) (any, error) {
	t.Helper()
	environment, err := cel.NewEnv(cel.Variable("assertion", cel.MapType(cel.StringType, cel.DynType)))
	if err != nil {
		t.Fatal(err)
	}
	tree, issues := environment.Compile(expression)
	if issues.Err() != nil {
		t.Fatalf("%s: %v", expression, issues.Err())
	}
	program, err := environment.Program(tree)
	if err != nil {
		t.Fatal(err)
	}
	value, _, err := program.Eval(variables)
	if err != nil {
		return nil, err
	}
	return value.Value(), nil
}

func TestWhoGetsIn(t *testing.T) {
	t.Parallel()
	const uid = "5b2d1a3c-8a53-4f6e-9a0e-0c2f5d8e7b11"
	usual, unbound, byNamespace := made(t, nil), made(t, map[string]any{"admit_unbound": true}), made(t, map[string]any{"admit": "namespaces"})
	nobody := made(t, map[string]any{"admit_exporters": false, "workloads": map[string]any{}})
	for _, test := range []struct {
		what      string
		provider  provider
		assertion map[string]any
		subject   string // "" if refused
	}{
		{"a listed workload", usual["prod-eu1"], claims("production", "payments", "payments-0"), "prod-eu1:system:serviceaccount:production:payments"},
		{"the exporter", usual["prod-eu1"], claims("kube-iam-assume", "cluster-exporter", "x"), "prod-eu1:system:serviceaccount:kube-iam-assume:cluster-exporter"},
		{"a long name", usual["prod-eu1"], claims(long, long, "x"), "prod-eu1:uid:" + uid},
		{"another account of the namespace", usual["prod-eu1"], claims("production", "other", "x"), ""},
		{"another namespace", usual["prod-eu1"], claims("staging", "payments", "x"), ""},
		{"a workload of the other cluster", usual["dev"], claims("production", "payments", "x"), ""},
		{"the other cluster's own", usual["dev"], claims("production", "other", "x"), "dev:system:serviceaccount:production:other"},
		{"a token without a pod", usual["prod-eu1"], claims("production", "payments", ""), ""},
		{"a token without a pod, allowed", unbound["prod-eu1"], claims("production", "payments", ""), "prod-eu1:system:serviceaccount:production:payments"},
		{"a token without a pod, allowed, of somebody else", unbound["prod-eu1"], claims("production", "other", ""), ""},
		{"any account of a listed namespace", byNamespace["prod-eu1"], claims("production", "another", "x"), "prod-eu1:system:serviceaccount:production:another"},
		{"an account of no listed namespace", byNamespace["prod-eu1"], claims("staging", "payments", "x"), ""},
		{"anybody, where nobody is listed", nobody["prod-eu1"], claims("production", "payments", "x"), ""},
		{"a token that is none of Kubernetes'", usual["prod-eu1"], map[string]any{"sub": "system:serviceaccount:production:payments"}, ""},
	} {
		attributes, ok := test.provider.admitted(t, test.assertion)
		if ok != (test.subject != "") || ok && attributes["google.subject"] != test.subject {
			t.Errorf("%s: admitted %t as %q, want %q", test.what, ok, attributes["google.subject"], test.subject)
		}
	}
}

func TestAttributes(t *testing.T) {
	t.Parallel()
	got, ok := made(t, nil)["prod-eu1"].admitted(t, claims("production", "payments", "payments-0"))
	want := map[string]string{
		"google.subject": "prod-eu1:system:serviceaccount:production:payments", "attribute.cluster": "prod-eu1", "attribute.namespace": "production",
		"attribute.service_account_name": "payments", "attribute.service_account_uid": "5b2d1a3c-8a53-4f6e-9a0e-0c2f5d8e7b11",
		"attribute.workload": "prod-eu1/production/payments", "attribute.pod": "payments-0", "attribute.pod_uid": "f3c1f0a4-0f4c-4a37-8a4a-3f6f1f9d2c22",
	}
	if !ok || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
