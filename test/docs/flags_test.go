package docs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const guide = "docs/distributions.md"

// Every flag that the guide gives an API server is one that the pinned kube-apiserver has, in whatever form its distribution wants it.
func TestAPIServerFlags(t *testing.T) {
	t.Parallel()
	known := apiServerFlags(t)
	d := read(t, guide)
	given := d.apiServerFlags(t)
	for _, problem := range unknown(given, known) {
		t.Error(problem)
	}
	for _, need := range []string{"service-account-issuer", "service-account-jwks-uri", "api-audiences", "service-account-key-file"} {
		if !slices.Contains(given, need) {
			t.Errorf("%s has no %s", guide, need)
		}
	}
	if len(given) < 25 {
		t.Errorf("only %d flags were looked at: %v", len(given), given)
	}
}

func unknown(given []string, known map[string]bool) []string {
	var problems []string
	for _, name := range given {
		if !known[name] {
			problems = append(problems, fmt.Sprintf("kube-apiserver has no flag --%s", name))
		}
	}
	return problems
}

// apiServerFlags asks the program that the tests run.
func apiServerFlags(t *testing.T) map[string]bool {
	t.Helper()
	folder, err := kube.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(folder, "kube-apiserver"), "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)`).FindAllStringSubmatch(string(out), -1) {
		known[match[1]] = true
	}
	if len(known) < 100 {
		t.Fatalf("kube-apiserver has %d flags", len(known))
	}
	return known
}

var (
	written     = regexp.MustCompile(`--(service-account-[a-z-]+|api-audiences[a-z-]*)`)
	extraConfig = regexp.MustCompile(`--extra-config=apiserver\.([a-z-]+)=`)
	notOfTheAPI = []string{"service-account-private-key-file"} // the controller-manager's
)

// apiServerFlags are those in the snippets of YAML, and those that are written with their hyphens.
func (d document) apiServerFlags(t *testing.T) []string {
	t.Helper()
	text, names := d.prose, []string{}
	for _, b := range d.blocks {
		text += b.text
		if b.language != "yaml" {
			continue
		}
		documents, err := b.yaml()
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range documents {
			names = append(names, argumentsIn(node, "")...)
		}
	}
	for _, form := range []*regexp.Regexp{written, extraConfig} {
		for _, match := range form.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(notOfTheAPI, match[1]) {
				names = append(names, match[1])
			}
		}
	}
	return names
}

// argumentsIn walks to the API server's arguments; kind has YAML within YAML.
func argumentsIn(node *yaml.Node, under string) []string {
	var names []string
	switch node.Kind {
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, child := range node.Content {
			names = append(names, argumentsIn(child, under)...)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i].Value, node.Content[i+1]
			switch {
			case key == "extraArgs" && under == "apiServer", key == "kube-apiserver-arg":
				names = append(names, argumentNames(value)...)
			default:
				names = append(names, argumentsIn(value, key)...)
			}
		}
	case yaml.ScalarNode:
		if inner := (block{text: node.Value}); strings.Contains(node.Value, "\n") {
			documents, err := inner.yaml()
			if err != nil {
				return []string{fmt.Sprintf("in YAML that can't be read: %v", err)}
			}
			for _, document := range documents {
				names = append(names, argumentsIn(document, "")...)
			}
		}
	case yaml.AliasNode:
	}
	return names
}

// argumentNames are the keys of a map, the names of a list of pairs, or what stands before the equals sign, as k3s has it.
func argumentNames(node *yaml.Node) []string {
	var names []string
	for i, child := range node.Content {
		switch {
		case node.Kind == yaml.MappingNode && i%2 == 0:
			names = append(names, child.Value)
		case node.Kind == yaml.SequenceNode && child.Kind == yaml.MappingNode:
			var pair struct{ Name, Value string }
			if err := child.Decode(&pair); err != nil || pair.Name == "" || pair.Value == "" {
				names = append(names, fmt.Sprintf("of line %d, which is no pair of name and value", child.Line))
				continue
			}
			names = append(names, pair.Name)
		case node.Kind == yaml.SequenceNode:
			name, _, _ := strings.Cut(child.Value, "=")
			names = append(names, strings.TrimRight(name, "+-"))
		}
	}
	return names
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"service-account-issuer": true, "api-audiences": true}
	for text, bad := range map[string]bool{
		"```yaml\napiServer: {extraArgs: [{name: service-account-issuer, value: a}, {name: api-audiences, value: b}]}\n```": false,
		"```yaml\napiServer: {extraArgs: [{name: service-account-isuer, value: a}]}\n```":                                   true,
		"```yaml\napiServer: {extraArgs: [{service-account-issuer: a}]}\n```":                                               true,
		"```yaml\ncluster: {apiServer: {extraArgs: {service-account-isuer: [a, b]}}}\n```":                                  true,
		"```yaml\ncontrollerManager: {extraArgs: {anything: a}}\n```":                                                       false,
		"```yaml\nkube-apiserver-arg: [service-account-issuer-=a]\n```":                                                     false,
		"```yaml\nkube-apiserver-arg: [service-account-isuer=a]\n```":                                                       true,
		"```yaml\npatches:\n- |\n  apiServer:\n    extraArgs:\n      api-audience: x\n```":                                  true,
		"`--service-account-issuer` and `--service-account-private-key-file`":                                               false,
		"`--api-audiencesx`": true,
		"    minikube start --extra-config=apiserver.service-account-isuer=x\n": true,
	} {
		d := parse("x.md", text)
		if problems := unknown(d.apiServerFlags(t), known); bad != (len(problems) > 0) {
			t.Errorf("%q: %v", text, problems)
		}
	}
}
