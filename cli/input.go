package main

import (
	"fmt"
	"io"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

const maxInput = 1 << 20

// readInput reads a file, or standard input for "-".
func readInput(name string, stdin io.Reader) ([]byte, error) {
	data, err := command.Read(name, stdin, maxInput)
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s: more than %d bytes", name, maxInput)
	}
	return data, err
}
