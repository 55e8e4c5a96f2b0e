// Command build makes Vault for the tests that need a real one, so that the wait is seen before the tests start: `go test` shows a package's
// output only when the package is done.
package main

import (
	"fmt"
	"os"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

func main() {
	if _, err := fromsource.Vault.Binaries(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
