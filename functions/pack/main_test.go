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
	"testing"
)

// packages are what `make dist` makes for each cloud: the program, the processor it is for, what is beside it, and how large it may get
// before somebody has to say why. Cloud Storage's library links gRPC.
var packages = map[string]struct {
	program string
	machine elf.Machine
	files   []string
	most    int // bytes
}{
	"aws":   {"bootstrap", elf.EM_AARCH64, nil, 5_000_000},
	"gcp":   {"publisher", elf.EM_X86_64, nil, 14_000_000},
	"azure": {"handler", elf.EM_X86_64, []string{"healthz/function.json", "host.json", "operate/function.json", "queue/function.json", "reconcile/function.json", "snapshots/function.json"}, 5_500_000},
}

// `make dist` in two copies of the source, at other places and times, makes the same bytes.
func TestDist(t *testing.T) {
	t.Parallel()
	first, second := dist(t, "one"), dist(t, "another/place")
	for cloud, want := range packages {
		if !bytes.Equal(first[cloud], second[cloud]) {
			t.Errorf("%s: two packages of one source differ: %d and %d bytes", cloud, len(first[cloud]), len(second[cloud]))
		}
		if len(first[cloud]) > want.most {
			t.Errorf("%s: the package has %d bytes, at most %d", cloud, len(first[cloud]), want.most)
		}
		archive, err := zip.NewReader(bytes.NewReader(first[cloud]), int64(len(first[cloud])))
		if err != nil {
			t.Fatalf("%s: %v", cloud, err)
		}
		var names []string
		for _, file := range archive.File {
			names = append(names, file.Name)
			if mode := map[bool]os.FileMode{true: 0o755, false: 0o644}[file.Name == want.program]; file.Mode() != mode {
				t.Errorf("%s: %s has the mode %s, want %s", cloud, file.Name, file.Mode(), mode)
			}
		}
		if !slices.Equal(names, append([]string{want.program}, want.files...)) {
			t.Fatalf("%s: it holds %q", cloud, names)
		}
		checkProgram(t, archive.File[0], want.machine)
	}
}

// checkProgram makes sure that a program is for a processor, and needs nothing else.
func checkProgram(t *testing.T, file *zip.File, machine elf.Machine) {
	t.Helper()
	in, err := file.Open()
	if err != nil {
		t.Fatal(err)
	}
	program, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil || binary.Machine != machine {
		t.Fatalf("%s is not for %v: %v", file.Name, machine, err)
	}
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s needs %v, %v", file.Name, libraries, err)
	}
}

// dist makes the packages in a copy of the source, with what a developer's environment may hold.
func dist(t *testing.T, place string) map[string][]byte {
	t.Helper()
	folder := filepath.Join(t.TempDir(), place)
	for _, part := range []string{"functions", "shared", ".ci"} {
		if err := os.MkdirAll(filepath.Join(folder, part), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(filepath.Join("../..", part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join("../..", file))
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
	made := map[string][]byte{}
	for cloud := range packages {
		content, err := os.ReadFile(filepath.Join(folder, "dist/kube-iam-assume-"+cloud+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		made[cloud] = content
	}
	return made
}
