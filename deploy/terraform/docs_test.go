package terraform_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

var (
	fenced   = regexp.MustCompile("(?s)```hcl\n(.*?)```")
	reading  = regexp.MustCompile(`module\.([a-z_]+)\.([a-z_]+)`)
	asking   = regexp.MustCompile(`terraform -chdir=prod output -(?:json|raw) ([a-z_]+)`)
	toRemove = regexp.MustCompile(`module\.kube_iam_assume\.([a-z]+rm_[a-z_]+|google_[a-z_]+)\.([a-z_]+)`)
)

// What the documentation tells people to write is what the modules take and give.
func TestExamples(t *testing.T) {
	t.Parallel()
	c := load(t)
	examples := 0
	for _, cloud := range []string{"gcp", "azure"} {
		text := documents(t, cloud)
		given := map[string]bool{}
		for _, match := range fenced.FindAllStringSubmatch(text, -1) {
			examples++
			c.checkExample(t, cloud, match[1], given)
		}
		for _, match := range asking.FindAllStringSubmatch(text, -1) {
			if !given[match[1]] {
				t.Errorf("docs/%s.md asks for the output %s, which its example does not have", cloud, match[1])
			}
		}
		for _, match := range toRemove.FindAllStringSubmatch(text, -1) {
			if _, err := c.resource(cloud, match[1], match[2]); err != nil {
				t.Errorf("docs/%s.md: %v", cloud, err)
			}
		}
	}
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, match := range fenced.FindAllStringSubmatch(string(text), -1) {
		examples++
		c.checkExample(t, "README", match[1], map[string]bool{})
	}
	if examples != 5 {
		t.Errorf("%d examples, want 5", examples)
	}
}

// checkExample looks at the modules that an example uses, and adds its outputs to those given.
func (c configuration) checkExample(t *testing.T, cloud, text string, given map[string]bool) {
	t.Helper()
	file, diagnostics := hclsyntax.ParseConfig([]byte(text), cloud+".md", hcl.InitialPos)
	if diagnostics.HasErrors() {
		t.Fatal(diagnostics)
	}
	folders := map[string]string{}
	for _, b := range file.Body.(*hclsyntax.Body).Blocks {
		switch b.Type {
		case "output":
			given[b.Labels[0]] = true
		case "module":
			source, _ := b.Body.Attributes["source"].Expr.Value(nil)
			folders[b.Labels[0]] = strings.TrimPrefix(source.AsString(), "../deploy/terraform/")
			c.checkArguments(t, folders[b.Labels[0]], b.Body)
		}
	}
	for _, match := range reading.FindAllStringSubmatch(text, -1) {
		outputs, err := c.blocks(folders[match[1]], "output")
		if err != nil || !slices.ContainsFunc(outputs, func(b block) bool { return b.Labels[0] == match[2] }) {
			t.Errorf("%s.md: module %s has no output %s", cloud, match[1], match[2])
		}
	}
}

func (c configuration) checkArguments(t *testing.T, folder string, body *hclsyntax.Body) {
	t.Helper()
	variables, err := c.blocks(folder, "variable")
	if err != nil || len(variables) == 0 {
		t.Fatalf("%s has no variables: %v", folder, err)
	}
	for name := range body.Attributes {
		if _, err := c.variable(folder, name); err != nil && name != "source" {
			t.Error(err)
		}
	}
	for _, variable := range variables {
		if variable.find("default") == nil && body.Attributes[variable.Labels[0]] == nil {
			t.Errorf("the example of %s lacks %s, which has no default", folder, variable.Labels[0])
		}
	}
}

// What is deployed is what is tested: the packages of `make dist`, and in the image nothing but the program of one.
func TestPackages(t *testing.T) {
	t.Parallel()
	text := func(name string) string {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	dist := text(".ci/dist")
	clouds := regexp.MustCompile(`for cloud in \$\{\*:-([a-z ]+)\}`).FindStringSubmatch(dist)
	if clouds == nil || !strings.Contains(dist, "package=dist/kube-iam-assume-$cloud.zip") {
		t.Fatal("it is not known what make dist makes")
	}
	for name, cloud := range map[string]string{
		"docs/gcp.md": "gcp", "docs/azure.md": "azure", "deploy/terraform/gcp/Dockerfile": "gcp", "deploy/terraform/azure/package/main.tf": "azure",
	} {
		packages := regexp.MustCompile(`dist/kube-iam-assume-([a-z]+)\.zip`).FindAllStringSubmatch(text(name), -1)
		if len(packages) == 0 {
			t.Errorf("%s names no package", name)
		}
		for _, match := range packages {
			if match[1] != cloud || !slices.Contains(strings.Fields(clouds[1]), match[1]) {
				t.Errorf("%s names %s, want that of %s", name, match[0], cloud)
			}
		}
	}
	copied := regexp.MustCompile(`(?m)^COPY (\S+) /\S+$`).FindAllStringSubmatch(text("deploy/terraform/gcp/Dockerfile"), -1)
	if len(copied) != 1 || !strings.Contains(dist, `tool ./functions/pack "$package" "$part/`+copied[0][1]+`"`) {
		t.Errorf("the image has %q, want the program of the package", copied)
	}
}

// Folders and files of Terraform that the documentation names are there.
func TestFolders(t *testing.T) {
	t.Parallel()
	named := regexp.MustCompile(`deploy/terraform/[-a-zA-Z./]*[a-zA-Z]`).FindAllString(documents(t, "gcp", "azure", "consumers", "multi-cloud"), -1)
	for _, name := range named {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	if len(named) < 12 {
		t.Errorf("only %q", named)
	}
}
