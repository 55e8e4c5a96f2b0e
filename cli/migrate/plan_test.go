package migrate_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate"
)

var update = flag.Bool("update", false, "write the plans that are wanted anew")

// plan runs the command as a person does.
func plan(args string) (string, error) {
	c := migrate.Command()
	c.SetArgs(append([]string{"plan"}, strings.Fields(args)...))
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	err := c.Execute()
	return out.String(), err
}

// Each folder of testdata is a cluster: args is the call, plan.txt what it prints. To add a case, add a folder and run with -update.
func TestPlans(t *testing.T) {
	t.Parallel()
	calls, err := filepath.Glob("testdata/*/args")
	if err != nil || len(calls) == 0 {
		t.Fatal("no cases", err)
	}
	for _, call := range calls {
		folder := filepath.Dir(call)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			t.Parallel()
			args, err := os.ReadFile(call)
			if err != nil {
				t.Fatal(err)
			}
			got, err := plan(string(args))
			if err != nil && !errors.Is(err, migrate.ErrDecisions) {
				t.Fatal(err)
			}
			if decided := !strings.Contains(got, "Decisions: what this plan leaves to you"); decided != (err == nil) {
				t.Errorf("the error is %v, the plan begins %.300s", err, got)
			}
			golden := filepath.Join(folder, "plan.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if difference := cmp.Diff(string(want), got); difference != "" {
				t.Error(difference)
			}
			again, _ := plan(string(args))
			if again != got {
				t.Error("the same cluster makes another plan:", cmp.Diff(got, again))
			}
		})
	}
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	const files = " -f testdata/kiam/cluster.yaml"
	for args, want := range map[string]string{
		"kerberos":   "one of the commands below",
		"kiam extra": "no arguments",
		"kiam" + files + " --kubeconfig x --issuer https://a.example.com": "want one",
		"kiam" + files: "want --issuer",
		"kiam" + files + " --issuer https://a.example.com --issuer https://b.example.com":              "a plan is for the one",
		"kiam" + files + " --issuer http://a.example.com":                                              "want https://",
		"kiam" + files + " --issuer https://a.example.com:8443":                                        "IAM takes no port",
		"kiam" + files + " --issuer https://a.example.com --account 12":                                "want 12 digits",
		"kiam" + files + " --issuer https://a.example.com --base-role-arn role/":                       "want arn:",
		"kiam" + files + " --issuer https://a.example.com --expiration 60":                             "want 600",
		"kiam" + files + " --issuer https://a.example.com --max-characters 9":                          "quota",
		"kiam" + files + " --issuer https://a.example.com --roles x --aws":                             "want one",
		"kiam" + files + " --issuer https://a.example.com --audience *":                                "invalid audience",
		"kube2iam" + files + " --issuer https://a.example.com --namespace-restriction-format wildcard": "want glob or regexp",
		"kiam" + files + " --default-role x":                                                           "unknown flag",
		"kiam --kubeconfig /dev/null":                                                                  "no kubeconfig",
		"kiam" + files + " -o xml":                                                                     "want table, json or yaml",
	} {
		_, err := plan(args)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, command.ErrUsage) && !strings.Contains(want, "unknown flag") && !strings.Contains(want, "yaml") {
			t.Errorf("%s: %v, want a wrong call with %q", args, err, want)
		}
	}
}

func TestUnreadableFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	const call = "kiam --issuer https://a.example.com -f testdata/kiam/cluster.yaml "
	for args, want := range map[string]string{
		call + "-f /nowhere/at/all": "no such file",
		"kiam --issuer https://a.example.com -f " + write("service.yaml", "kind: Service\napiVersion: v1\n"): "no Kubernetes objects",
		call + "--roles " + write("roles.yaml", "Roles: []"):                                                 "no list of roles",
		call + "--roles " + write("roles.json", "{}"):                                                        "no member Roles",
		call + "--write " + dir: "not an empty folder",
	} {
		if _, err := plan(args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// What is written is what is printed: the commands of PLAN.txt name files that are there, and each is JSON or YAML.
func TestWrite(t *testing.T) {
	t.Parallel()
	args, err := os.ReadFile("testdata/kube2iam/args")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new", "plan")
	if _, err := plan(string(args) + " --write " + dir); !errors.Is(err, migrate.ErrDecisions) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "PLAN.txt"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?:-f |file://|--patch-file )(\S+)`).FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Errorf("PLAN.txt names %d files", len(named))
	}
	for _, match := range named {
		content, err := os.ReadFile(filepath.Join(dir, match[1]))
		if err != nil {
			t.Error(err)
		} else if !json.Valid(content) && !strings.HasSuffix(match[1], ".yaml") {
			t.Errorf("%s is no JSON: %s", match[1], content)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "plan.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if _, err := plan(string(args) + " --write " + dir); !errors.Is(err, migrate.ErrFolder) {
		t.Error("a second plan among the files of the first:", err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "PLAN.txt")); err != nil || !bytes.Equal(again, text) {
		t.Error("the refusal changed a file", err)
	}
}
