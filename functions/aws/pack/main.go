// Command pack writes the function's package: a zip that has the same bytes wherever and whenever it is made of the same files.
//
// The package that is deployed also holds publisher.yaml and clusters/, beside bootstrap; whoever deploys without the stack adds them
// (zip -r kube-iam-assume-aws.zip publisher.yaml clusters).
package main

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack PACKAGE.zip FILE...")
		os.Exit(2)
	}
	size, err := create(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Printf("%s: %d bytes\n", os.Args[1], size)
}

// create writes the package whole or not at all.
func create(name string, files []string) (size int64, err error) {
	out, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, ignoreMissing(os.Remove(out.Name()))) }()
	if err := errors.Join(pack(out, files), out.Chmod(0o644), out.Close()); err != nil {
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

// pack writes the files in the order of their names, all of them programs, made at the zip format's first second.
func pack(to io.Writer, files []string) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	archive := zip.NewWriter(to)
	for _, file := range files {
		if err := add(archive, file); err != nil {
			return err
		}
	}
	return archive.Close()
}

func add(archive *zip.Writer, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	header := &zip.FileHeader{Name: filepath.Base(file), Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	header.SetMode(0o755)
	out, err := archive.CreateHeader(header)
	if err != nil {
		return err
	}
	_, err = out.Write(content)
	return err
}
