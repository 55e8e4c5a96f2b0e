package rotation

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// execute is a command with its arguments.
func execute(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	c := Command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(arguments)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestThePlanOfEveryDistribution(t *testing.T) {
	t.Parallel()
	for _, name := range distribution.Names() {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			got, err := execute(t, "plan", "--distribution", string(name), "--issuer", "https://oidc.example.com/prod", "--cluster", "prod")
			if err != nil {
				t.Fatal(err)
			}
			for _, must := range []string{"wait --until published", "wait --until unused", "https://oidc.example.com/prod", "tokens of pods may live a year", "kubectl get secrets", "Secrets with tokens that live for ever", "ontroller-manager", "new "} {
				if !strings.Contains(got, must) {
					t.Errorf("it does not say %q", must)
				}
			}
			for _, placeholder := range []string{"ISSUER", "CLUSTER", "PROGRAM"} {
				if strings.Contains(got, placeholder) {
					t.Errorf("it says %s", placeholder)
				}
			}
			if strings.Index(got, "until published") > strings.Index(got, "until unused") {
				t.Error("the steps are out of order")
			}
			golden(t, string(name)+".txt", got)
		})
	}
	if got, err := execute(t, "plan", "--distribution", "k3s", "--issuer", "https://oidc.example.com/prod", "-o", "json"); err != nil || !json.Valid([]byte(got)) {
		t.Error(err, got)
	}
}

// What announce prints is what a publisher's door reads.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	key := snapshottest.NewRSAKey()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "new.pub")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := []string{"announce", "--issuer", "https://oidc.example.com/prod", "--cluster", "prod", "--key-file", file, "--reason", "rotation of November"}
	out, err := execute(t, append(arguments, "--dry-run", "-o", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	var order struct {
		Statement json.RawMessage `json:"statement"`
		DryRun    bool            `json:"dryRun"`
	}
	if err := json.Unmarshal([]byte(out), &order); err != nil {
		t.Fatal(err)
	}
	s, err := rotation.ParseStatement(order.Statement)
	if err != nil || s.Action != rotation.Announce || len(s.Keys) != 1 || s.Keys[0].ID() != key.ID() || s.Reason != "rotation of November" || !order.DryRun {
		t.Fatalf("%+v, %v", s, err)
	}
	out, err = execute(t, arguments...)
	if err != nil || !strings.Contains(out, "aws lambda invoke") || !strings.Contains(out, "announcedKeys: {\"keys\":[") {
		t.Fatal(err, out)
	}
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"plan --distribution slackware":                          "want one of kubeadm",
		"plan --kubeconfig /nowhere --distribution k3s":          "",
		"wait --until then --key-id a":                           `--until "then": want published or unused`,
		"wait --until published":                                 "which key?",
		"wait --until published --key-id a --poll 0s":            "--poll not zero",
		"wait --until published --key-file /nowhere":             "no such file",
		"wait --until published --key-id a extra":                "want no arguments",
		"status --watch -1s":                                     "want times",
		"status now":                                             "want no arguments",
		"announce --issuer a --cluster b --key-file c --reason=": "say why",
		"elsewhere": "want one of the commands below",
	} {
		_, err := execute(t, strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), want) || want != "" && !errors.Is(err, command.ErrUsage) {
			t.Errorf("%s: %v, want usage: %s", line, err, want)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Every line of a plan is one that a shell takes; what a person has to fill in is a word, or a comment.
func TestAShellTakesThePlan(t *testing.T) {
	t.Parallel()
	for _, name := range distribution.Names() {
		p := Plan{Distribution: name, Issuer: "https://oidc.example.com/prod"}
		p.fill("prod")
		for _, step := range p.Steps {
			check := exec.CommandContext(t.Context(), "/bin/sh", "-n")
			check.Stdin = strings.NewReader(strings.Join(step.Run, "\n") + "\n")
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", name, step.Title, err, out)
			}
		}
	}
}
