// Command pack writes the function app's package: a zip that has the same bytes wherever and whenever it is made of the same files.
//
// It holds the program and what the Functions host reads, host.json and a folder per function. The package that is deployed also holds
// publisher.yaml and clusters/ beside them; whoever deploys without Terraform adds them
// (zip -r kube-iam-assume-azure.zip publisher.yaml clusters).
package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/functions/archive"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pack PACKAGE.zip HANDLER FOLDER")
		os.Exit(2)
	}
	size, err := pack(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d bytes\n", os.Args[1], size)
}

// pack writes the package: the handler and what the host reads.
func pack(name, handler, folder string) (size int64, err error) {
	content, err := os.ReadFile(handler)
	if err != nil {
		return 0, err
	}
	files := []archive.File{{Name: "handler", Content: content, Mode: 0o755}}
	err = fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir():
			return err
		case path.Base(name) != "host.json" && path.Base(name) != "function.json":
			return fmt.Errorf("%s is neither host.json nor a function.json", filepath.Join(folder, name))
		}
		content, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(name)))
		files = append(files, archive.File{Name: name, Content: content, Mode: 0o644})
		return err
	})
	if err != nil {
		return 0, err
	}
	return archive.Write(name, files)
}
