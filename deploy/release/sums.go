package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// checksums are as `sha256sum --check` reads them.
func checksums(folder string) ([]byte, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, entry := range entries {
		if entry.Name() == sums {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&out, "%x  %s\n", sha256.Sum256(content), entry.Name())
	}
	return out.Bytes(), nil
}

func printSizes(to io.Writer, folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(to, "%7.2f MiB  %s\n", float64(info.Size())/(1<<20), entry.Name()); err != nil {
			return err
		}
	}
	return nil
}
