// Command pack writes the function's source as Google's Go buildpack wants it, for who would rather have Google build it than deploy the
// program that was tested: a zip that has the same bytes wherever and whenever it is made of the same files.
//
//	go run ./functions/gcp/pack kube-iam-assume-gcp-source.zip
//	zip -r kube-iam-assume-gcp-source.zip publisher.yaml clusters
//
// The buildpack looks for a package other than main at the root, in a module whose path has a dot, and for an import of the framework's
// "functions" there; without that it would want a function by the name of FUNCTION_TARGET. So the root gets a file that imports the
// doors, beside this module's go.mod and go.sum and the packages that the doors need, without their tests.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/functions/archive"
)

const (
	module = "github.com/kube-iam-assume/kube-iam-assume"
	doors  = module + "/functions/gcp/doors"
)

// root is the package that the buildpack sees. No folder may have its name.
const root = `// Package function is what Google's buildpack imports.
package function

import (
	_ "github.com/GoogleCloudPlatform/functions-framework-go/functions" // by which the buildpack knows that functions register themselves

	_ "` + doors + `"
)
`

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: pack SOURCE.zip, in the module's folder")
		os.Exit(2)
	}
	if err := create(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// create writes the package.
func create(name string) error {
	sources, err := sources()
	if err != nil {
		return err
	}
	var files []archive.File
	for name, content := range sources {
		files = append(files, archive.File{Name: name, Content: content, Mode: 0o644})
	}
	_, err = archive.Write(name, files)
	return err
}

// sources are the files by their names in the package.
func sources() (map[string][]byte, error) {
	files := map[string][]byte{"function.go": []byte(root)}
	packages, err := list()
	if err != nil {
		return nil, err
	}
	top := ""
	for _, p := range packages {
		if p.Module == nil || p.Module.Path != module {
			continue
		}
		top = p.Module.Dir
		for _, file := range append(p.GoFiles, p.EmbedFiles...) {
			path := filepath.Join(p.Dir, file)
			name, err := filepath.Rel(top, path)
			if err == nil {
				files[filepath.ToSlash(name)], err = os.ReadFile(path)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		if files[name], err = os.ReadFile(filepath.Join(top, name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

type listed struct {
	Dir                 string
	GoFiles, EmbedFiles []string
	Module              *struct{ Path, Dir string }
}

// list asks the Go tool which packages and files the program has on Cloud Run.
func list() ([]listed, error) {
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	command := exec.Command(tool, "list", "-deps", "-json=Dir,GoFiles,EmbedFiles,Module", doors) //nolint:gosec,noctx // the user's own Go
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var packages []listed
	for decoder := jsontext.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := json.UnmarshalDecode(decoder, &p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}
