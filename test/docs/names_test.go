package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

var (
	dotted = regexp.MustCompile(`^([a-z]+)\.[a-z]+(-[a-z]+)*$`)
	filter = regexp.MustCompile(`event\s*==?\s*\\*"([^"\\]+)\\*"`)
	alert  = regexp.MustCompile(`\bKubeIAMAssume[A-Za-z]+\b`)
)

// Events and the doctor's checks that the documentation names are in the code, alerts in the chart.
func TestNames(t *testing.T) {
	t.Parallel()
	known, looked := names(t), 0
	for _, d := range documents(t) {
		for _, problem := range d.badNames(known, &looked) {
			t.Error(problem)
		}
	}
	if looked < 80 {
		t.Errorf("only %d names were looked at", looked)
	}
}

// names are all that the code logs and asks, with their first words, and the chart's alerts.
func names(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	for _, folder := range []string{"shared", "functions", "cluster-exporter", "cli/doctor"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(file string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return err
			}
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err == nil {
				ast.Inspect(source, func(node ast.Node) bool { return learn(known, node) })
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	alerts, err := os.ReadFile(filepath.Join(root, "deploy/helm/kube-iam-assume/alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alert.FindAllString(string(alerts), -1) {
		known[name] = true
	}
	for section, values := range chartValues(t) {
		for name := range values {
			known[section+"."+name] = true // the chart's README names values like this
		}
	}
	if len(known) < 100 {
		t.Fatalf("%d names in the code", len(known))
	}
	return known
}

func chartValues(t *testing.T) map[string]map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "deploy/helm/kube-iam-assume/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	sections := map[string]map[string]any{}
	for name, value := range all {
		if section, ok := value.(map[string]any); ok {
			sections[name] = section
		}
	}
	return sections
}

// learn takes the constants of a package, what follows the word event in a call, what federation says, and the checks' IDs.
func learn(known map[string]bool, node ast.Node) bool {
	switch n := node.(type) {
	case *ast.ValueSpec:
		for _, value := range n.Values {
			add(known, value)
		}
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "id" {
			add(known, n.Value)
		}
	case *ast.CallExpr:
		for i, argument := range n.Args {
			said, ok := n.Fun.(*ast.SelectorExpr)
			if i > 0 && text(n.Args[i-1]) == "event" || ok && said.Sel.Name == "say" {
				add(known, argument)
			}
		}
	}
	return true
}

func add(known map[string]bool, value ast.Expr) {
	if parts := dotted.FindStringSubmatch(text(value)); parts != nil {
		known[parts[0]], known[parts[1]] = true, true
	}
}

func text(value ast.Expr) string {
	literal, ok := value.(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(literal.Value)
	if err != nil {
		return ""
	}
	return s
}

var endings = []string{"json", "yaml", "pem", "key", "pub", "crt", "jws", "md", "go", "go-template", "github", "com", "svc", "sock"}

// badNames takes for the name of an event what stands alone in backticks and begins as one does, or is what a log is asked for.
func (d document) badNames(known map[string]bool, looked *int) []string {
	var named []string
	for _, s := range d.spans() {
		parts := dotted.FindStringSubmatch(s)
		if parts != nil && known[parts[1]] && !slices.Contains(endings, s[len(parts[1])+1:]) {
			named = append(named, s)
		}
	}
	everything := d.prose
	for _, b := range d.blocks {
		everything += b.text
	}
	for _, match := range filter.FindAllStringSubmatch(everything, -1) {
		named = append(named, match[1])
	}
	named = append(named, alert.FindAllString(everything, -1)...)
	var problems []string
	for _, name := range named {
		*looked++
		if !known[name] {
			problems = append(problems, fmt.Sprintf("%s names %s, which is nowhere in the code", d.path, name))
		}
	}
	return problems
}

func TestBadNames(t *testing.T) {
	t.Parallel()
	known := names(t)
	for text, bad := range map[string]bool{
		"`key.added`, `target.incomplete`, `settings.invalid`, `jwks.signing` and `key.pem`": false,
		"`key.adedd`":                               true,
		"`snapshot.excepted`":                       true,
		"`tokens.signing-keys`":                     true,
		"    tail '{ $.event = \"state.gone\" }'\n": true,
		"    read \"event=\\\"state.gone\\\"\"\n":   true,
		"    tail '{ $.event = \"state.lost\" }'\n": false,
		"`KubeIAMAssumeExporterGone`":               false,
		"KubeIAMAssumeExporterGoes":                 true,
	} {
		looked := 0
		if problems := parse("x.md", text).badNames(known, &looked); bad != (len(problems) == 1) {
			t.Errorf("%q: %v", text, problems)
		}
	}
}
