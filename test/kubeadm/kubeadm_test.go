package kubeadm_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/kubeadm"
)

// What a configuration repeats, kubeadm writes in that order and in place of its own.
func TestRepeatedArguments(t *testing.T) {
	t.Parallel()
	flags := kubeadm.APIServerFlags(t, `
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  extraArgs:
  - {name: service-account-issuer, value: "https://b.example.com"}
  - {name: service-account-issuer, value: "https://a.example.com"}
`)
	flags = slices.DeleteFunc(flags, func(flag string) bool { return !strings.HasPrefix(flag, "--service-account-issuer=") })
	if want := []string{"--service-account-issuer=https://b.example.com", "--service-account-issuer=https://a.example.com"}; !slices.Equal(flags, want) {
		t.Errorf("got %q, want %q", flags, want)
	}
}

// docs/distributions.md: between the rounds sa.pub holds two keys, and kubeadm leaves both files alone, whichever of the keys is sa.key.
func TestFilesOfTheRounds(t *testing.T) {
	t.Parallel()
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	for round, sign := range map[string]*kube.Key{"one": a, "two": b} {
		private, err := sign.PrivatePEM()
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{"sa.key": private, "sa.pub": append(b.PublicPEM(), a.PublicPEM()...)}
		folder := t.TempDir()
		configuration := filepath.Join(t.TempDir(), "kubeadm.yaml")
		for file, content := range map[string][]byte{
			filepath.Join(folder, "sa.key"): files["sa.key"], filepath.Join(folder, "sa.pub"): files["sa.pub"],
			configuration: fmt.Appendf(nil, "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: %s\ncertificatesDir: %s\n", kubeadm.Version(t), folder),
		} {
			if err := os.WriteFile(file, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := kubeadm.Run(t, "init", "phase", "certs", "sa", "--config", configuration)
		if err != nil || !strings.Contains(out, `Using the existing "sa" key`) {
			t.Errorf("round %s: %v\n%s", round, err, out)
		}
		for file, before := range files {
			if after, err := os.ReadFile(filepath.Join(folder, file)); err != nil || !bytes.Equal(after, before) {
				t.Errorf("round %s: %s was changed: %v", round, file, err)
			}
		}
	}
}
