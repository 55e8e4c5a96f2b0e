package main

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// `make dist` in two copies of the source, at other places and times, makes the same bytes.
func TestDist(t *testing.T) {
	t.Parallel()
	first, second := dist(t, "one"), dist(t, "another/place")
	if !bytes.Equal(first, second) {
		t.Errorf("two packages of one source differ: %d and %d bytes", len(first), len(second))
	}
	archive, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil || len(archive.File) != 1 {
		t.Fatalf("%d files, %v", len(archive.File), err)
	}
	file := archive.File[0]
	if file.Name != "bootstrap" || file.Mode() != 0o755 {
		t.Errorf("it holds %s, %s", file.Name, file.Mode())
	}
	in, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || binary.Machine != elf.EM_AARCH64 {
		t.Errorf("bootstrap is for %v, %v", binary.Machine, err)
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("bootstrap needs %v, %v", libraries, err)
	}
}

// dist makes the package in a copy of the source, with what a developer's environment may hold.
func dist(t *testing.T, place string) []byte {
	t.Helper()
	folder := filepath.Join(t.TempDir(), place)
	for _, part := range []string{"functions/aws", "shared", ".ci"} {
		if err := os.MkdirAll(filepath.Join(folder, part), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join("../../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join("../../..", file))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), "sh", ".ci/dist")
	command.Dir = folder
	command.Env = append(os.Environ(), "GOFLAGS=-v", "CGO_ENABLED=1", "GOARCH=amd64")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	content, err := os.ReadFile(filepath.Join(folder, "dist/kube-iam-assume-aws.zip"))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
