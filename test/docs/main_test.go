package docs_test

import (
	"fmt"
	"os"
	"testing"
)

// temporary is a folder for what tests share.
var temporary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if temporary, err = os.MkdirTemp("", "kube-iam-assume-docs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(temporary)
	return m.Run()
}
