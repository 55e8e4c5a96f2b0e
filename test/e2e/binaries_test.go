package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// binaries builds what a user runs.
func binaries(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for name, pkg := range map[string]string{"cluster-exporter": "cluster-exporter", "kube-iam-assume-standalone": "functions/standalone", "kube-iam-assume": "cli"} {
		build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(folder, name), "github.com/kube-iam-assume/kube-iam-assume/"+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return folder
}

func command(t *testing.T, binary, kubeconfig string, args ...string) (stdout, stderr string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, args...)
	c.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	var out, problems strings.Builder
	c.Stdout, c.Stderr = &out, &problems
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s\n%s", args, err, out.String(), problems.String())
	}
	return out.String(), problems.String()
}

// The commands of the README, as a user runs them, without a cluster and with a real one.
func TestBinaries(t *testing.T) {
	t.Parallel()
	cli := filepath.Join(binaries(t), "kube-iam-assume")
	out, _ := command(t, cli, "", "demo")
	if n := strings.Count(out, "ACCEPTED"); n != 3 || strings.Count(out, "REFUSED") != 2 {
		t.Errorf("the demo shows %d tokens accepted:\n%s", n, out)
	}
	key := kube.NewKey(t, kube.RSA2048)
	c := kube.Start(t, kube.Options{Issuer: "https://oidc.example.com/prod", Keys: kube.Keys{Sign: key}, Flags: []string{"--service-account-max-token-expiration=24h"}})
	kubeconfig := c.Kubeconfig(t, 0)
	t.Run("demo against a cluster", func(t *testing.T) {
		out, _ := command(t, cli, kubeconfig, "demo", "--yes")
		for _, want := range []string{"https://oidc.example.com/prod", "ACCEPTED", "REFUSED (not-believed)", "Nothing was rotated", "is being removed"} {
			if !strings.Contains(out, want) {
				t.Errorf("the demo does not say %q:\n%s", want, out)
			}
		}
		all, err := c.Admin(0).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range all.Items {
			if strings.HasPrefix(ns.Name, "kube-iam-assume-demo") && ns.DeletionTimestamp == nil {
				t.Errorf("the namespace %s was left behind", ns.Name)
			}
		}
	})
	t.Run("enroll", func(t *testing.T) {
		_, problems := command(t, cli, kubeconfig, "enroll", "prod")
		if !strings.Contains(problems, "no token of kube-iam-assume/cluster-exporter could be had") {
			t.Errorf("warnings before the exporter is installed:\n%s", problems)
		}
		c.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
		out, problems := command(t, cli, kubeconfig, "enroll", "prod")
		cluster, err := enrollment.ParseCluster("prod.yaml", []byte(out))
		if err != nil || len(cluster.BootstrapKeys) != 1 || cluster.BootstrapKeys[0].ID() != key.ID() {
			t.Errorf("%v\n%s", err, out)
		}
		if !strings.Contains(problems, "the issuer is an audience of every pod's default token") || strings.Contains(problems, "tokens may live") {
			t.Errorf("warnings:\n%s", problems)
		}
	})
}
