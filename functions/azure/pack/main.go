// Command pack writes the function app's package: a zip that has the same bytes wherever and whenever it is made of the same files.
//
// It holds the program and what the Functions host reads, host.json and a folder per function. The package that is deployed also holds
// publisher.yaml and clusters/ beside them; whoever deploys without Terraform adds them
// (zip -r kube-iam-assume-azure.zip publisher.yaml clusters).
package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pack PACKAGE.zip HANDLER FOLDER")
		os.Exit(2)
	}
	size, err := create(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d bytes\n", os.Args[1], size)
}

// create writes the package whole or not at all.
func create(name, handler, folder string) (size int64, err error) {
	out, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, ignoreMissing(os.Remove(out.Name()))) }()
	if err := errors.Join(pack(out, handler, folder), out.Chmod(0o644), out.Close()); err != nil {
		return 0, err
	}
	info, err := os.Stat(out.Name())
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(out.Name(), name)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// A file is a member of the package.
type file struct {
	name, source string
	mode         fs.FileMode
}

// pack writes the files in the order of their names, made at the zip format's first second.
func pack(to io.Writer, handler, folder string) error {
	files := []file{{name: "handler", source: handler, mode: 0o755}}
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil || entry.IsDir():
			return err
		case path.Base(name) != "host.json" && path.Base(name) != "function.json":
			return fmt.Errorf("%s is neither host.json nor a function.json", filepath.Join(folder, name))
		}
		files = append(files, file{name: name, source: filepath.Join(folder, filepath.FromSlash(name)), mode: 0o644})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	archive := zip.NewWriter(to)
	for _, f := range files {
		if err := add(archive, f); err != nil {
			return err
		}
	}
	return archive.Close()
}

func add(archive *zip.Writer, f file) error {
	content, err := os.ReadFile(f.source)
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(f.mode)
	out, err := archive.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = out.Write(content)
	return err
}
