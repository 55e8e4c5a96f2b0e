package terraform_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclwrite"
)

// The formatting is that of `terraform fmt`, which is this same writer.
func TestFormat(t *testing.T) {
	t.Parallel()
	for name, text := range load(t) {
		if string(hclwrite.Format([]byte(text))) != text {
			t.Errorf("%s is not formatted: run terraform fmt -recursive deploy/terraform", name)
		}
	}
}

var formGuards = []guard{
	{name: "every variable and output says what it is", check: described, red: []spoil{
		{"a variable does not", "clusters/variables.tf", `description = "Folder with`, `default = "Folder with`},
		{"an output does not", "aws-trust/outputs.tf", `description = "Cluster ID to its issuer, for --service-account-issuer."`, ``},
		{"a variable has no type", "clusters/variables.tf", "type        = string", ""},
	}},
	{name: "what is used is pinned", check: pinned, red: []spoil{
		{"any provider", "aws-trust/versions.tf", `version = "~> 6.0"`, ``},
		{"any later provider", "aws-trust/versions.tf", `~> 6.0`, `>= 6.0`},
		{"any terraform", "clusters/versions.tf", `required_version = ">= 1.9.0, < 2.0.0"`, ``},
	}},
}

func described(c configuration) error {
	for _, kind := range []string{"variable", "output"} {
		all, err := c.blocks("", kind)
		if err != nil {
			return err
		}
		for _, b := range all {
			if len(b.source("description")) < 10 {
				return fmt.Errorf("%s %s has no description", kind, b.address())
			}
			if kind == "variable" && b.source("type") == "" {
				return fmt.Errorf("variable %s has no type", b.address())
			}
		}
	}
	return nil
}

func pinned(c configuration) error {
	versions := map[string]bool{}
	all, err := c.blocks("", "terraform")
	if err != nil {
		return err
	}
	for _, b := range all {
		versions[folder(b.file)] = strings.Contains(b.source("required_version"), "< 2.0.0")
		for _, providers := range b.inner("required_providers") {
			for name := range providers.Body.Attributes {
				if source := providers.source(name); !strings.Contains(source, `version = "~> `) {
					return fmt.Errorf("%s: provider %s is not pinned with ~>: %s", b.file, name, source)
				}
			}
		}
	}
	for name := range c {
		if !versions[folder(name)] {
			return fmt.Errorf("%s: the folder does not say which terraform it is for", name)
		}
	}
	return nil
}
