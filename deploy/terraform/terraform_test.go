//go:build terraform

package terraform_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// terraform runs the real command in a folder, alone: no registry, no configuration of the user's.
func terraform(t *testing.T, folder string, arguments ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "terraform", arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE="+os.DevNull, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0", "TF_CLI_ARGS=-no-color", "TF_DATA_DIR=.terraform")
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	return stdout.String() + stderr.String(), err
}

// prepared is a module without providers, copied and initialized, with files beside it.
func prepared(t *testing.T, module string, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range load(t) {
		if filepath.Dir(name) == module {
			files[filepath.Base(name)] = text
		}
	}
	for name, text := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := terraform(t, folder, "init", "-backend=false"); err != nil {
		t.Fatalf("terraform init: %v\n%s", err, out)
	}
	return folder
}

// Each case is a folder clusters/, and what else is set. Its comment is what Terraform's error must say, line by line, or nothing if all is good.
func TestClusters(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob("clusters/testdata/cases/*.txtar")
	if err != nil || len(cases) < 25 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{"terraform.tfvars.json": `{"directory": "clusters", "issuer_base": "https://oidc.example.com"}`}
			for _, f := range archive.Files {
				files[strings.ReplaceAll(f.Name, "variables.json", "case.auto.tfvars.json")] = string(f.Data)
			}
			out, err := terraform(t, prepared(t, "clusters", files), "plan", "-lock=false")
			said := strings.Join(strings.Fields(strings.ReplaceAll(out, "│", " ")), " ")
			comment := strings.TrimSpace(string(archive.Comment))
			if comment == "" && err != nil || comment != "" && err == nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for want := range strings.Lines(comment) {
				if !strings.Contains(said, strings.Join(strings.Fields(want), " ")) {
					t.Errorf("want %q in\n%s", want, out)
				}
			}
		})
	}
}

// What Terraform makes of clusters/*.yaml is what the publisher reads: the settings load, and the names of the objects are the ones it writes.
func TestSettingsAreThePublishers(t *testing.T) {
	t.Parallel()
	const provider = "projects/1/locations/global/workloadIdentityPools/kubernetes/providers/prod-"
	for name, c := range map[string]struct {
		variables string
		want      enrollment.Issuer
	}{
		"with mirrors": {
			`"retention": "36h30m", "mirrors": ["https://m.example.com/oidc", "https://n.example.com"]`,
			enrollment.Issuer{Retention: 36*time.Hour + 30*time.Minute, Mirrors: []string{"https://m.example.com/oidc/prod-eu1", "https://n.example.com/prod-eu1"}},
		},
		"a mirror": {`"served_at": "https://example.z1.web.core.windows.net"`, enrollment.Issuer{Retention: 48 * time.Hour, ServedAt: "https://example.z1.web.core.windows.net/prod-eu1"}},
		"private": {
			`"private": true, "workload_identity_providers": {"prod-eu1": "` + provider + `eu1", "prod-us1": "` + provider + `us1"}`,
			enrollment.Issuer{Retention: 48 * time.Hour, Private: true, WorkloadIdentityProvider: provider + "eu1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := apply(t, c.variables)
			fsys := fstest.MapFS{}
			for name, text := range made.Settings.Value {
				fsys[name] = &fstest.MapFile{Data: []byte(text)}
			}
			publisher, err := enrollment.LoadFS(fsys, "publisher.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if publisher.Name != "prod/example-project" || len(publisher.Issuers) != 2 {
				t.Errorf("%+v", publisher)
			}
			got := publisher.Issuers[0]
			c.want.URL, c.want.Path, c.want.Clusters = "https://storage.googleapis.com/oidc/prod-eu1", "prod-eu1", got.Clusters
			if diff := cmp.Diff(c.want, got, cmp.Comparer(jwks.Key.Equal)); diff != "" {
				t.Errorf("-want +publisher:\n%s", diff)
			}
			made.compareObjects(t, publisher)
		})
	}
}

// outputs are those of module clusters.
type outputs struct {
	Settings struct{ Value map[string]string }
	Clusters struct {
		Value map[string]struct {
			Issuer  string
			Objects map[string]string
		}
	}
}

// apply is what module clusters makes of two clusters, with some variables.
func apply(t *testing.T, variables string) (made outputs) {
	t.Helper()
	folder := prepared(t, "clusters", map[string]string{"terraform.tfvars.json": `{
		"directory": "clusters", "issuer_base": "https://storage.googleapis.com/oidc", "publisher": "prod/example-project", ` + variables + `}`})
	if err := os.CopyFS(filepath.Join(folder, "clusters"), os.DirFS("clusters/testdata/clusters")); err != nil {
		t.Fatal(err)
	}
	if out, err := terraform(t, folder, "apply", "-auto-approve"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := terraform(t, folder, "output", "-json")
	if err != nil {
		t.Fatal(err, out)
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	return made
}

func (made outputs) compareObjects(t *testing.T, publisher enrollment.Publisher) {
	t.Helper()
	for _, issuer := range publisher.Issuers {
		objects, err := publish.ObjectsOf(issuer)
		if err != nil {
			t.Fatal(err)
		}
		cluster := made.Clusters.Value[issuer.Clusters[0].ID]
		want := map[string]string{"discovery": objects.Discovery, "jwks": objects.JWKS, "state": objects.State, "log": objects.Log}
		if diff := cmp.Diff(want, cluster.Objects); diff != "" || cluster.Issuer != issuer.URL {
			t.Errorf("%s: -publisher +terraform:\n%s", issuer.URL, diff)
		}
	}
}

// The own tests of modules without a provider; validate/run has the others.
func TestModules(t *testing.T) {
	t.Parallel()
	c := load(t)
	tests, err := filepath.Glob("*/*/*.tftest.hcl")
	more, _ := filepath.Glob("*/*/*/*.tftest.hcl")
	tests = slices.DeleteFunc(append(tests, more...), func(name string) bool {
		return strings.Contains(c[filepath.Dir(name)+"/versions.tf"], "required_providers")
	})
	if err != nil || len(tests) < 2 {
		t.Fatalf("only %q, %v", tests, err)
	}
	for _, name := range tests {
		t.Run(filepath.Dir(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out, err := terraform(t, prepared(t, filepath.Dir(name), map[string]string{filepath.Base(name): string(text)}), "test")
			if err != nil || !strings.Contains(out, "Success!") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestFormatCommand(t *testing.T) {
	t.Parallel()
	if out, err := terraform(t, ".", "fmt", "-check", "-recursive"); err != nil {
		t.Errorf("not formatted, run terraform fmt -recursive deploy/terraform:\n%s", out)
	}
}
