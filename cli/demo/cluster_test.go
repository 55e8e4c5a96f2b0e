package demo_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/demo"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// Against a real API server: what is made is removed, whatever happens, and without a yes nothing is made.
func TestOwnCluster(t *testing.T) {
	const issuer = "https://oidc.example.com/prod"
	c := kube.Start(t, kube.Options{Issuer: issuer, Keys: kube.Keys{Sign: kube.NewKey(t, kube.RSA2048)}})
	kubeconfig := c.Kubeconfig(t, 0)
	silence, _ := io.Pipe()
	pipe, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	defer pipe.Close()
	for name, test := range map[string]struct {
		options     demo.Options
		interruptAt string
		says        []string
		fails       string
		makes       int // namespaces
	}{
		"yes": {
			options: demo.Options{In: strings.NewReader("y\n"), Kubeconfig: filepath.Join(t.TempDir(), "none") + string(os.PathListSeparator) + kubeconfig},
			says: []string{
				`context "test"`, issuer, "makes the namespace", "Go on?", "publisher for it is up", "vouched", "ACCEPTED", "changes nothing (unchanged)",
				"REFUSED (not-believed)", "Nothing was rotated", "is being removed",
			},
			makes: 1,
		},
		"no":                          {options: demo.Options{In: strings.NewReader("n\n")}, says: []string{"Go on?"}, fails: "nothing was made"},
		"nobody to ask":               {options: demo.Options{In: pipe}, fails: "demo --yes"},
		"end of the input":            {options: demo.Options{In: strings.NewReader("")}, fails: "demo --yes"},
		"interrupted at the question": {options: demo.Options{In: silence}, interruptAt: "Go on?", fails: "interrupted"},
		"interrupted before the namespace": {
			options: demo.Options{Yes: true}, interruptAt: "makes the namespace", fails: "interrupted",
		},
		"interrupted in the middle": {
			options: demo.Options{Yes: true}, interruptAt: "vouched", says: []string{"is being removed"}, fails: "interrupted", makes: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := namespaces(t, c)
			if test.options.Kubeconfig == "" {
				test.options.Kubeconfig = kubeconfig
			}
			out, err := show(t, test.options, test.interruptAt)
			if (err != nil) != (test.fails != "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%v, want %q\n%s", err, test.fails, out)
			}
			inOrder(t, out, test.says...)
			after, staying := namespaces(t, c)
			if after-before != test.makes || staying != 0 {
				t.Errorf("it made %d namespaces, want %d, and %d stay", after-before, test.makes, staying)
			}
		})
	}
}

// namespaces counts the demo's. Nothing finishes a removal here, for no controller runs, so those that are being removed can be seen.
func namespaces(t *testing.T, c *kube.Cluster) (all, staying int) {
	t.Helper()
	list, err := c.Admin(0).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range list.Items {
		if strings.HasPrefix(ns.Name, "kube-iam-assume-demo-") {
			all++
			if ns.DeletionTimestamp == nil {
				staying++
			}
		}
	}
	return all, staying
}

// A kubeconfig the exporter could not follow is refused before anything is made.
func TestUnusableKubeconfig(t *testing.T) {
	for want, cluster := range map[string]string{
		"has a path":               "{server: 'https://rancher.example.com/k8s/clusters/c-1', certificate-authority-data: eA==}",
		"not an https one":         "{server: 'http://127.0.0.1:8080'}",
		"no certificate authority": "{server: 'https://127.0.0.1:1', insecure-skip-tls-verify: true}",
		"root certificates":        "{server: 'https://127.0.0.1:1', certificate-authority-data: eA==}",
		"did not find expected":    "{",
		"no such file":             "",
	} {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		text := "apiVersion: v1\nkind: Config\ncurrent-context: x\ncontexts: [{name: x, context: {cluster: x, user: x}}]\nusers: [{name: x, user: {}}]\nclusters: [{name: x, cluster: " + cluster + "}]\n"
		if cluster != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		out, err := show(t, demo.Options{Kubeconfig: file, Yes: true}, "")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%v, want %q\n%s", err, want, out)
		}
	}
}
