// Command build installs the Azure tests' storage server, so that the wait is seen before the tests start: `go test` shows a package's
// output only when the package is done.
package main

import (
	"fmt"
	"os"

	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

func main() {
	if err := azure.Install(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
