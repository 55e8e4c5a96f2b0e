// Package archive writes what is deployed as a zip, with the same bytes wherever and whenever it is made of the same files.
package archive

import (
	"archive/zip"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// File is a member of the archive.
type File struct {
	Name    string // with slashes
	Content []byte
	Mode    fs.FileMode // 0o755 for a program, 0o644 for all else
}

// Write writes the archive whole or not at all, and returns its size in bytes.
func Write(name string, files []File) (size int64, err error) {
	out, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return 0, err
	}
	defer func() {
		if removed := os.Remove(out.Name()); !errors.Is(removed, fs.ErrNotExist) {
			err = errors.Join(err, removed)
		}
	}()
	if err := errors.Join(writeTo(out, files), out.Chmod(0o644), out.Close()); err != nil {
		return 0, err
	}
	info, err := os.Stat(out.Name())
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(out.Name(), name)
}

// writeTo writes the files in the order of their names, made at the zip format's first second.
func writeTo(to io.Writer, files []File) error {
	archive := zip.NewWriter(to)
	for _, file := range slices.SortedFunc(slices.Values(files), func(a, b File) int { return cmp.Compare(a.Name, b.Name) }) {
		header := &zip.FileHeader{Name: file.Name, Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
		header.SetMode(file.Mode)
		out, err := archive.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := out.Write(file.Content); err != nil {
			return err
		}
	}
	return archive.Close()
}
