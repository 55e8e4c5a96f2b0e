// Package architecture holds the project's layering as a test: which folder may import which, what the pure core may reach,
// and that no binary links two clouds.
//
// The rules are data (rules.go), the check is a function from an import graph to violations, and the graph of the real source
// comes from `go list`. Tests are not part of the graph: a test may import whatever proves its package.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
)

// Package is one node of the import graph.
type Package struct {
	ImportPath string
	Name       string   // "main" for a binary
	Imports    []string // import paths, direct
	Deps       []string // import paths, direct and indirect
}

// Graph is the import graph of a module, its dependencies included, by import path.
type Graph map[string]Package

// Load reads the graph of the Go module that contains the working directory.
func Load() (Graph, error) {
	root, err := goTool("list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return nil, err
	}
	listing, err := goTool("list", "-C", strings.TrimSpace(string(root)), "-json=ImportPath,Name,Imports,Deps", "./...")
	if err != nil {
		return nil, err
	}
	graph := Graph{}
	for decoder := json.NewDecoder(bytes.NewReader(listing)); ; {
		var p Package
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return graph, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the listing of go list: %w", err)
		}
		graph[p.ImportPath] = p
	}
}

func goTool(arguments ...string) ([]byte, error) {
	output, err := exec.Command("go", arguments...).Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return nil, fmt.Errorf("go %s: %w: %s", arguments[0], err, failed.Stderr)
	}
	return output, err
}

// Folder is the path of one of our own packages relative to the module, and whether it is ours.
func Folder(importPath string) (string, bool) {
	if importPath == Module {
		return "", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

// within reports whether an import path or folder is the given one or below it. Everything is within "".
func within(p, folder string) bool {
	return folder == "" || p == folder || strings.HasPrefix(path.Clean(p), folder+"/")
}
