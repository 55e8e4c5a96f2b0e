//go:build e2e_aws

package firstinstall

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/stage"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	repository = "../.."
	region     = "eu-central-1"
	oldIssuer  = "https://kubernetes.default.svc.cluster.local"
	patience   = time.Minute
)

func TestMain(m *testing.M) {
	pod.Main()
	aws.Main(m, func(progress io.Writer) error { // which asks the network
		_, err := fromsource.Chart.Binaries(progress)
		return err
	})
}

// bench is where a reader sits: a clone of the repository, the tools, an account of AWS, a cluster whose API server has an issuer of its own.
type bench struct {
	*testing.T
	*stage.Stage

	cluster *kube.Cluster
	root    string   // of the clone
	env     []string // of the reader's shell
}

func newBench(t *testing.T, managed map[string]string) *bench {
	t.Helper()
	b := &bench{T: t, Stage: stage.Start(t, region, managed), root: clone(t)}
	b.cluster = kube.Start(t, kube.Options{Issuer: oldIssuer, Keys: kube.Keys{Sign: kube.NewKey(t, kube.RSA2048)}})
	b.cluster.CreateServiceAccount(t, "production", "payments")
	helm, err := fromsource.Chart.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	b.env = append(os.Environ(),
		"PATH="+helm+string(filepath.ListSeparator)+os.Getenv("PATH"), "KUBECONFIG="+b.kubeconfig(),
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home, "NO_COLOR=1",
		"CDK_NOTICES=false", "CDK_VALIDATION=false") // both from the network
	b.env = append(b.env, b.Double.Env()...)
	return b
}

// clone copies what a reader has cloned, and what `npm ci` installs.
func clone(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = repository
	names, err := list.Output()
	if err != nil {
		t.Fatalf("list the repository's files: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		copyFile(t, filepath.Join(repository, name), filepath.Join(root, name))
	}
	packages, err := filepath.Abs(filepath.Join(repository, "cdk", "node_modules"))
	if err == nil {
		err = os.Symlink(packages, filepath.Join(root, "cdk", "node_modules"))
	}
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// copyFile copies a file with its rights; what was deleted and is not committed is left out.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Stat(from)
	if os.IsNotExist(err) || err == nil && info.IsDir() {
		return
	}
	data, readErr := os.ReadFile(from)
	if err == nil {
		err = readErr
	}
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, data, info.Mode().Perm())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// kubeconfig has the context that the page names.
func (b *bench) kubeconfig() string {
	b.Helper()
	file := b.cluster.Kubeconfig(b.T, 0)
	config, err := clientcmd.LoadFromFile(file)
	if err == nil {
		config.Contexts["prod-eu1"], config.CurrentContext = config.Contexts[config.CurrentContext], "prod-eu1"
		err = clientcmd.WriteToFile(*config, file)
	}
	if err != nil {
		b.Fatal(err)
	}
	return file
}

// run runs a block of the page in the clone's root, and returns how many questions had to be answered. The first command that fails ends it.
func (b *bench) run(script string) (answers int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir, command.Env = b.root, b.env
	screen, answers, err := inTerminal(command)
	if err != nil {
		b.Fatalf("the page's\n%s\nfailed: %v\n%s", script, err, screen)
	}
	return answers
}

func (b *bench) write(name, content string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.root, name), []byte(content), 0o600); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) read(name string) []byte {
	b.Helper()
	content, err := os.ReadFile(filepath.Join(b.root, name))
	if err != nil {
		b.Fatal(err)
	}
	return content
}

// eventually waits until a check passes.
func (b *bench) eventually(what string, check func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			b.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
