// Package kubeadm has the real kubeadm say what it makes of a configuration: the flags in the manifest of the API server that it would write.
// It changes nothing on the machine.
package kubeadm

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

var build = sync.OnceValues(func() (string, error) { return fromsource.Kubeadm.Binaries(os.Stderr) })

// Run runs kubeadm, and returns what it printed.
func Run(t testing.TB, arguments ...string) (string, error) {
	t.Helper()
	return run(t, "", arguments)
}

func run(t testing.TB, manifests string, arguments []string) (string, error) {
	t.Helper()
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, filepath.Join(folder, "kubeadm"), arguments...)
	command.Env = append(os.Environ(), "KUBEADM_INIT_DRYRUN_DIR="+manifests)
	out, err := command.CombinedOutput()
	return string(out), err
}

// Version is kubeadm's, and so that of the control planes it makes.
func Version(t testing.TB) string {
	t.Helper()
	version, err := Run(t, "version", "-o", "short")
	if err != nil {
		t.Fatalf("%v: %s", err, version)
	}
	return strings.TrimSpace(version)
}

// APIServerFlags are the flags with which kubeadm would start the API server, in its order. The configuration says no version: it is told
// the one that kubeadm has, which keeps it from asking the network.
func APIServerFlags(t testing.TB, configuration string) []string {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "kubeadm.yaml")
	if err := os.WriteFile(file, []byte(configuration+"\nkubernetesVersion: "+Version(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{
		{"config", "validate", "--config", file},
		{"init", "phase", "control-plane", "apiserver", "--dry-run", "--config", file},
	} {
		if out, err := run(t, folder, arguments); err != nil {
			t.Fatalf("kubeadm %s: %v\n%s\nof\n%s", strings.Join(arguments, " "), err, out, configuration)
		}
	}
	return flagsOf(t, folder)
}

// flagsOf reads the manifest that kubeadm wrote into a folder.
func flagsOf(t testing.TB, folder string) []string {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(folder, "kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var pod core.Pod
	if err := yaml.UnmarshalStrict(manifest, &pod); err != nil {
		t.Fatal(err)
	}
	command := pod.Spec.Containers[0].Command
	if command[0] != "kube-apiserver" {
		t.Fatalf("the manifest starts %q", command[0])
	}
	return command[1:]
}
