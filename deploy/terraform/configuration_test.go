// Package terraform_test holds the Terraform configurations to their promises without a cloud, a provider or the terraform command: what is public,
// who may write, which rights somebody has, and that names are those of the Go code. What needs terraform itself is behind build tags.
package terraform_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// configuration is the source of all modules by file name, such as gcp/main.tf.
type configuration map[string]string

func load(t *testing.T) configuration {
	t.Helper()
	all := configuration{}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".terraform" || entry.Name() == "testdata"):
			return fs.SkipDir
		case path.Ext(name) != ".tf":
			return nil
		}
		text, err := os.ReadFile(name)
		all[name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// block is a block of a file: resource "google_storage_bucket" "documents" {...}.
type block struct {
	*hclsyntax.Block

	file, text string // the file's name and text
}

// blocks are the top-level blocks of a type in one folder, or in all for "".
func (c configuration) blocks(folder, kind string) ([]block, error) {
	var all []block
	for _, name := range c.files() {
		if folder != "" && path.Dir(name) != folder {
			continue
		}
		file, diagnostics := hclsyntax.ParseConfig([]byte(c[name]), name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		for _, b := range file.Body.(*hclsyntax.Body).Blocks {
			if b.Type == kind {
				all = append(all, block{Block: b, file: name, text: c[name]})
			}
		}
	}
	return all, nil
}

func (c configuration) files() []string {
	var names []string
	for name := range c {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// address is how Terraform calls the block.
func (b block) address() string { return path.Dir(b.file) + ":" + strings.Join(b.Labels, ".") }

// source is the text of an attribute's expression in one line, or of the attribute in a block inside: "lifecycle.prevent_destroy". It is "" if there
// is none; of several blocks it is the first.
func (b block) source(at string) string {
	expression := b.find(at)
	if expression == nil {
		return ""
	}
	between := expression.Range()
	return strings.Join(strings.Fields(b.text[between.Start.Byte:between.End.Byte]), " ")
}

func (b block) find(at string) hclsyntax.Expression {
	body := b.Body
	steps := strings.Split(at, ".")
	for _, step := range steps[:len(steps)-1] {
		i := slices.IndexFunc(body.Blocks, func(inner *hclsyntax.Block) bool { return inner.Type == step })
		if i < 0 {
			return nil
		}
		body = body.Blocks[i].Body
	}
	if attribute := body.Attributes[steps[len(steps)-1]]; attribute != nil {
		return attribute.Expr
	}
	return nil
}

// inner are the blocks of a type directly inside.
func (b block) inner(kind string) []block {
	var all []block
	for _, inner := range b.Body.Blocks {
		if inner.Type == kind {
			all = append(all, block{Block: inner, file: b.file, text: b.text})
		}
	}
	return all
}

// strings are the values of a list that is written out; anything else is an error.
func (b block) strings(at string) ([]string, error) {
	expression := b.find(at)
	if expression == nil {
		return nil, fmt.Errorf("%s has no %s", b.address(), at)
	}
	value, diagnostics := expression.Value(nil)
	if diagnostics.HasErrors() {
		return nil, fmt.Errorf("%s: %s is not written out: %w", b.address(), at, diagnostics)
	}
	var all []string
	for _, element := range value.AsValueSlice() {
		if element.Type() != cty.String {
			return nil, fmt.Errorf("%s: %s has something that is no string", b.address(), at)
		}
		all = append(all, element.AsString())
	}
	return all, nil
}

// resource finds one by its folder, type and name.
func (c configuration) resource(folder, kind, name string) (block, error) {
	all, err := c.blocks(folder, "resource")
	if err != nil {
		return block{}, err
	}
	for _, b := range all {
		if b.Labels[0] == kind && b.Labels[1] == name {
			return b, nil
		}
	}
	return block{}, fmt.Errorf("%s has no resource %s.%s", folder, kind, name)
}

// resources are those of a type in all folders.
func (c configuration) resources(kind string) ([]block, error) {
	all, err := c.blocks("", "resource")
	return slices.DeleteFunc(all, func(b block) bool { return b.Labels[0] != kind }), err
}

// replace makes a configuration with a change in one place.
func (c configuration) replace(t *testing.T, file, old, fresh string) configuration {
	t.Helper()
	if strings.Count(c[file], old) == 0 {
		t.Fatalf("%s has no %q to change", file, old)
	}
	changed := configuration{}
	for name, text := range c {
		changed[name] = text
	}
	changed[file] = strings.Replace(c[file], old, fresh, 1)
	if _, diagnostics := hclsyntax.ParseConfig([]byte(changed[file]), file, hcl.InitialPos); diagnostics.HasErrors() {
		t.Fatalf("%q for %q leaves %s unreadable, which every guard would see: %v", fresh, old, file, diagnostics)
	}
	return changed
}

// variable finds one by its folder and name.
func (c configuration) variable(folder, name string) (block, error) {
	all, err := c.blocks(folder, "variable")
	if err != nil {
		return block{}, err
	}
	for _, b := range all {
		if b.Labels[0] == name {
			return b, nil
		}
	}
	return block{}, fmt.Errorf("%s has no variable %s", folder, name)
}
