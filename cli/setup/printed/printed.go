// Package printed reads what `setup --print` wrote as its readers do: commands by a shell, with a stand-in for the provider's program, and Terraform by HCL's own
// parser. So tests can compare it with what setup does, and with the text that a reviewer has seen.
package printed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// Command is one call of the provider's program.
type Command struct {
	Arguments []string
	Input     string
}

// Flag is the value of a flag, written --name value or --name=value; "" if it is not there.
func (c Command) Flag(name string) string {
	for i, argument := range c.Arguments {
		if value, found := strings.CutPrefix(argument, name+"="); found {
			return value
		}
		if argument == name && i+1 < len(c.Arguments) {
			return c.Arguments[i+1]
		}
	}
	return ""
}

// Is reports whether a command begins with these words.
func (c Command) Is(words string) bool {
	return strings.HasPrefix(strings.Join(c.Arguments, " ")+" ", words+" ")
}

// recorder writes down its arguments and its input, each ended by a NUL, with another one after the last.
const recorder = `#!/bin/sh
printf '%s\0' "$@" >> "$RECORD"
printf '\0' >> "$RECORD"
for last in "$@"; do :; done
if [ "$last" = - ]; then cat >> "$RECORD"; fi
printf '\0' >> "$RECORD"
`

// Shell has a POSIX shell check a script (sh -n) and run it, with nothing to run but a recorder in the provider's program's place.
func Shell(t *testing.T, script, program string) []Command {
	t.Helper()
	check := exec.CommandContext(t.Context(), "/bin/sh", "-n")
	check.Stdin = strings.NewReader(script)
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("sh -n: %v: %s", err, out)
	}
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, program), []byte(recorder), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/cat", filepath.Join(folder, "cat")); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(folder, "record")
	run := exec.CommandContext(t.Context(), "/bin/sh", "-eu")
	run.Stdin, run.Env = strings.NewReader(script), []string{"PATH=" + folder, "RECORD=" + record}
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("sh: %v: %s", err, out)
	}
	data, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	var all []Command
	words := strings.Split(string(data), "\x00")
	for i := 0; i < len(words)-1; {
		var c Command
		for ; words[i] != ""; i++ {
			c.Arguments = append(c.Arguments, words[i])
		}
		c.Input = words[i+1]
		all = append(all, c)
		i += 2
	}
	return all
}

// Golden compares a text with a file of testdata, which it writes if the environment has UPDATE.
func Golden(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// Block is a resource or a data source of Terraform.
type Block struct {
	Kind, Type, Name string
	// Attributes by name, and those of inner blocks by BLOCK.name: texts as they are, everything else as JSON. An expression with a reference in it is its source.
	Attributes map[string]string
}

// Address is how another block names it.
func (b Block) Address() string {
	address := b.Type + "." + b.Name
	if b.Kind == "data" {
		return "data." + address
	}
	return address
}

// Terraform parses a configuration, and refuses one that terraform fmt would change, names twice, and references to what is not in it.
func Terraform(t *testing.T, source string) []Block {
	t.Helper()
	file, problems := hclsyntax.ParseConfig([]byte(source), "printed.tf", hcl.InitialPos)
	if problems.HasErrors() {
		t.Fatalf("%v\n%s", problems, source)
	}
	if formatted := string(hclwrite.Format([]byte(source))); formatted != source {
		t.Errorf("terraform fmt would write\n%s\ninstead of\n%s", formatted, source)
	}
	var all []Block
	known := map[string]bool{}
	body := file.Body.(*hclsyntax.Body) //nolint:forcetypeassert // hclsyntax makes no other
	for _, block := range body.Blocks {
		if len(block.Labels) != 2 || len(body.Attributes) > 0 {
			t.Fatalf("want resources and data sources only: %s", block.Type)
		}
		b := Block{block.Type, block.Labels[0], block.Labels[1], map[string]string{}}
		if known[b.Address()] {
			t.Errorf("%s is there twice", b.Address())
		}
		known[b.Address()] = true
		b.read(t, "", block.Body, source)
		all = append(all, b)
	}
	refers(t, body, known)
	return all
}

func (b Block) read(t *testing.T, prefix string, body *hclsyntax.Body, source string) {
	t.Helper()
	for name, attribute := range body.Attributes {
		value, problems := attribute.Expr.Value(nil)
		if problems.HasErrors() { // it refers to another block
			b.Attributes[prefix+name] = string(attribute.Expr.Range().SliceBytes([]byte(source)))
			continue
		}
		if value.Type() == cty.String {
			b.Attributes[prefix+name] = value.AsString()
			continue
		}
		text, err := ctyjson.Marshal(value, value.Type())
		if err != nil {
			t.Fatal(err)
		}
		b.Attributes[prefix+name] = string(text)
	}
	for _, inner := range body.Blocks {
		b.read(t, prefix+inner.Type+".", inner.Body, source)
	}
}

func refers(t *testing.T, body *hclsyntax.Body, known map[string]bool) {
	t.Helper()
	problems := hclsyntax.VisitAll(body, func(node hclsyntax.Node) hcl.Diagnostics {
		expression, ok := node.(*hclsyntax.ScopeTraversalExpr)
		if !ok {
			return nil
		}
		var names []string
		for _, step := range expression.Traversal {
			switch step := step.(type) {
			case hcl.TraverseRoot:
				names = append(names, step.Name)
			case hcl.TraverseAttr:
				names = append(names, step.Name)
			}
		}
		size := 2
		if names[0] == "data" {
			size = 3
		}
		if len(names) > 1 && !known[strings.Join(names[:min(size, len(names))], ".")] {
			t.Errorf("%s refers to nothing that is printed", strings.Join(names, "."))
		}
		return nil
	})
	if problems.HasErrors() {
		t.Error(problems)
	}
}
