package main

import (
	"archive/zip"
	"bytes"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The package made in two copies of the source, at other places and times, has the same bytes.
func TestPackage(t *testing.T) {
	t.Parallel()
	first, second := dist(t, "one"), dist(t, "another/place")
	if !bytes.Equal(first, second) {
		t.Errorf("two packages of one source differ: %d and %d bytes", len(first), len(second))
	}
	archive, err := zip.NewReader(bytes.NewReader(first), int64(len(first)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range archive.File {
		names = append(names, file.Name)
		if want := map[bool]os.FileMode{true: 0o755, false: 0o644}[file.Name == "handler"]; file.Mode() != want {
			t.Errorf("%s has the mode %s, want %s", file.Name, file.Mode(), want)
		}
	}
	want := []string{"handler", "healthz/function.json", "host.json", "operate/function.json", "queue/function.json", "reconcile/function.json", "snapshots/function.json"}
	if !slices.Equal(names, want) {
		t.Fatalf("it holds %q", names)
	}
	in, err := archive.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || binary.Machine != elf.EM_X86_64 {
		t.Errorf("handler is for %v, %v", binary.Machine, err)
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("handler needs %v, %v", libraries, err)
	}
}

// dist makes the package in a copy of the source, as .ci/dist does.
func dist(t *testing.T, place string) []byte {
	t.Helper()
	folder := filepath.Join(t.TempDir(), place)
	for _, part := range []string{"functions/azure", "shared"} {
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
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", "handler", "./functions/azure")
	build.Dir = folder
	build.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOOS=linux", "GOARCH=amd64", "GOAMD64=v1", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name := filepath.Join(folder, "package.zip")
	if _, err := create(name, filepath.Join(folder, "handler"), filepath.Join(folder, "functions/azure/app")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// What does not belong there is not packed, and an earlier package stays.
func TestStrangeFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	handler, name := filepath.Join(folder, "handler"), filepath.Join(folder, "package.zip")
	app := filepath.Join(folder, "app")
	if err := os.Mkdir(app, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string]string{handler: "program", name: "earlier", filepath.Join(app, "local.settings.json"): "{}"} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := create(name, handler, app); err == nil || !strings.Contains(err.Error(), "local.settings.json") {
		t.Errorf("%v", err)
	}
	content, err := os.ReadFile(name)
	entries, _ := filepath.Glob(name + "*")
	if err != nil || string(content) != "earlier" || len(entries) != 1 {
		t.Errorf("%q, %v, beside it %q", content, err, entries)
	}
}
