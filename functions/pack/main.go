// Command pack writes a function's package: a zip of programs that has the same bytes wherever and whenever it is made of the same files.
//
// The package that is deployed also holds publisher.yaml and clusters/, beside the program; whoever deploys without the stack adds them
// (zip -r kube-iam-assume-aws.zip publisher.yaml clusters).
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/functions/archive"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack PACKAGE.zip PROGRAM...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(name string, programs []string) error {
	var files []archive.File
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		files = append(files, archive.File{Name: filepath.Base(program), Content: content, Mode: 0o755})
	}
	size, err := archive.Write(name, files)
	if err == nil {
		fmt.Printf("%s: %d bytes\n", name, size)
	}
	return err
}
