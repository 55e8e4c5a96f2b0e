// Command build makes kube-apiserver, of the minor that the environment variable KUBERNETES names, and etcd for the tests that need real ones, so that the wait is seen before the tests
// start: `go test` shows a package's output only when the package is done.
package main

import (
	"fmt"
	"os"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

func main() {
	release, err := fromsource.ChosenKubernetes()
	if err == nil {
		_, err = release.Programs(os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
