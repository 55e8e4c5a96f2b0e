package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"time"
)

// packChart is what `helm package --version --app-version` makes, but for times and users, which would be others every time.
func packChart(folder, version string) ([]byte, error) {
	var out bytes.Buffer
	compressed := gzip.NewWriter(&out)
	archive := tar.NewWriter(compressed)
	chart := os.DirFS(folder)
	err := fs.WalkDir(chart, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return nil
		case !entry.Type().IsRegular():
			return fmt.Errorf("%s is no file", name)
		}
		content, err := fs.ReadFile(chart, name)
		if err != nil {
			return err
		}
		if name == "Chart.yaml" {
			if content, err = withVersion(content, version); err != nil {
				return err
			}
		}
		return add(archive, path.Join("kube-iam-assume", name), content)
	})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(archive.Close(), compressed.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func add(archive *tar.Writer, name string, content []byte) error {
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err := archive.Write(content)
	return err
}

var versionLines = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

// withVersion makes chart and images be of the release.
func withVersion(chart []byte, version string) ([]byte, error) {
	if found := len(versionLines.FindAll(chart, -1)); found != 2 {
		return nil, fmt.Errorf("version and appVersion are on %d lines of Chart.yaml, want 2", found)
	}
	return versionLines.ReplaceAll(chart, []byte(`${1}: "`+version+`"`)), nil
}
