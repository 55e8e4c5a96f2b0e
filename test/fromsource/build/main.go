// Command build makes programs for the tests that need real ones, so that the wait is seen before the tests start: `go test` shows a package's
// output only when the package is done. Its arguments are names of sets; kube is the minor that the environment variable KUBERNETES names.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

var sets = map[string]func(io.Writer) (string, error){
	"kube": kube, "kubeadm": fromsource.Kubeadm.Binaries, "chart": fromsource.Chart.Binaries,
	"aws": fromsource.AWS.Binaries, "gcp": fromsource.GCP.Binaries, "vault": fromsource.Vault.Binaries,
}

func main() {
	for _, name := range os.Args[1:] {
		if err := build(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func build(name string) error {
	binaries, ok := sets[name]
	if !ok {
		return fmt.Errorf("no set of programs is called %q", name)
	}
	_, err := binaries(os.Stderr)
	return err
}

func kube(progress io.Writer) (string, error) {
	release, err := fromsource.ChosenKubernetes()
	if err != nil {
		return "", err
	}
	programs, err := release.Programs(progress)
	return programs.APIServer, err
}
