package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// What docs/distributions.md tells the owner of a kubeadm cluster to type, typed: on two control plane nodes, round by round, while tokens
// are verified outside and every API server is asked about the tokens of every other.
func TestRotationOnKubeadmAsDocumented(t *testing.T) {
	t.Parallel()
	rounds := commandsUnder(t, "../../docs/distributions.md", "### Rotate on kubeadm")
	if len(rounds) != 3 {
		t.Fatalf("%d rounds are documented: %q", len(rounds), rounds)
	}
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	c := w.start(2, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested", `"read":2`)
	k := w.watch(c, w.consumer("prod"))
	nodes := []*node{newNode(t, c.Servers[0], a, b), newNode(t, c.Servers[1], a, b)}

	w.operate(rotation.Statement{Action: rotation.Announce, Issuer: w.issuer("prod"), Cluster: "prod", Keys: set(b), Reason: "yearly rotation"})
	w.waitPublished("prod", b, true)
	for i, round := range rounds {
		if i == 2 { // "after wait --until unused": what the old key signed has been renewed
			if err := kubelet.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range nodes {
			n.types(t, round)
			n.server.Restart(t, kube.Config{Keys: n.keys(t), Issuers: []string{w.issuer("prod")}})
			acceptEachOther(t, c)
		}
	}
	w.waitLog("key.retiring", a.ID())
	time.Sleep(3 * pollInterval)
	k.noFailures(t)
	for _, n := range nodes {
		if keys := n.keys(t); keys.Sign.ID() != b.ID() || len(keys.Verify) != 1 || keys.Verify[0].ID() != b.ID() {
			t.Errorf("in the end the node has %+v", keys)
		}
		for _, left := range []string{n.path("pki/sa.key.old"), n.path("shm/sa-new.key")} {
			if _, err := os.Stat(left); !os.IsNotExist(err) {
				t.Errorf("%s: %v", left, err)
			}
		}
	}
}

// commandsUnder are the indented blocks below a heading, up to the next one.
func commandsUnder(t *testing.T, file, heading string) []string {
	t.Helper()
	_, section, found := strings.Cut(string(must(os.ReadFile(file))), heading+"\n")
	if !found {
		t.Fatalf("%s has no %q", file, heading)
	}
	section, _, _ = strings.Cut(section, "\n#")
	var blocks []string
	for paragraph := range strings.SplitSeq(section, "\n\n") {
		if strings.HasPrefix(strings.TrimLeft(paragraph, "\n"), "    ") {
			blocks = append(blocks, paragraph)
		}
	}
	return blocks
}

// node is a control plane machine: its files, and a container runtime that knows what was stopped.
type node struct {
	folder string
	server *kube.Server
}

func newNode(t *testing.T, server *kube.Server, now, next *kube.Key) *node {
	t.Helper()
	n := &node{folder: t.TempDir(), server: server}
	for file, content := range map[string][]byte{
		"pki/sa.key": must(now.PrivatePEM()), "pki/sa.pub": now.PublicPEM(),
		"shm/sa-new.key": must(next.PrivatePEM()), "shm/sa-new.pub": next.PublicPEM(),
		"bin/crictl": []byte(`#!/bin/sh
case "$1" in
ps) echo "$3" ;;
stop) echo "$2" >> "$STOPPED" ;;
*) exit 2 ;;
esac
`),
	} {
		if err := os.MkdirAll(filepath.Dir(n.path(file)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(n.path(file), content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n *node) path(file string) string { return filepath.Join(n.folder, filepath.FromSlash(file)) }

// types runs a round's commands on the node. They must stop the API server, which is what has it read its files again.
func (n *node) types(t *testing.T, commands string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	commands = strings.NewReplacer("/etc/kubernetes/pki", n.path("pki"), "/dev/shm", n.path("shm")).Replace(commands)
	if strings.Contains(commands, "/etc/") || strings.Contains(commands, "/dev/") {
		t.Fatalf("the commands reach outside of the node:\n%s", commands)
	}
	shell := exec.CommandContext(ctx, "/bin/sh", "-eu", "-c", commands)
	shell.Env = append(os.Environ(), "PATH="+n.path("bin")+":"+os.Getenv("PATH"), "STOPPED="+n.path("stopped"))
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, commands, out)
	}
	if stopped := strings.Fields(string(must(os.ReadFile(n.path("stopped"))))); !slices.Contains(stopped, "kube-apiserver") {
		t.Fatalf("the API server goes on with its old files; stopped: %q", stopped)
	}
	if err := os.Remove(n.path("stopped")); err != nil {
		t.Fatal(err)
	}
}

func (n *node) keys(t *testing.T) kube.Keys {
	t.Helper()
	return kube.Keys{Sign: kube.ReadKeys(t, n.path("pki/sa.key"))[0], Verify: kube.ReadKeys(t, n.path("pki/sa.pub"))}
}

// acceptEachOther holds every API server to taking the tokens of all.
func acceptEachOther(t *testing.T, c *kube.Cluster) {
	t.Helper()
	for from := range c.Servers {
		token := c.Token(t, from, "app", "payments", nil, 600)
		for to := range c.Servers {
			client := must(kubernetes.NewForConfig(c.TokenConfig(to, token)))
			if _, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authentication.SelfSubjectReview{}, meta.CreateOptions{}); err != nil {
				t.Errorf("API server %d takes no token of API server %d: %v", to, from, err)
			}
		}
	}
}
