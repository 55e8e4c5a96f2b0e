package terraform_test

import "fmt"

var mirrorGuards = []guard{
	{name: "the publisher knows where it stands: first, mirror, or read by nobody", check: mirrorSettings, red: []spoil{
		{"a host in front of the bucket makes it a mirror", "gcp/main.tf", `var.mirror_of == null ? null : local.own_base`, `local.issuer_base == local.own_base ? null : local.own_base`},
		{"a mirror looks for its documents at the other's", "gcp/main.tf", `var.mirror_of == null ? null : local.own_base`, `var.mirror_of`},
		{"a mirror has issuers of its own", "azure/main.tf", `var.mirror_of != null ? var.mirror_of : var.issuer_base`, `var.issuer_base`},
		{"mirrors are forgotten", "azure/main.tf", `mirrors     = var.mirrors`, `mirrors     = []`},
		{"documents are looked at that nobody can read", "gcp/main.tf", `private                     = !local.is_public`, `private                     = false`},
		{"both a host of one's own and another's", "azure/variables.tf", `var.mirror_of == null || var.issuer_base == null`, `true`},
		{"a mirror that nobody can read", "gcp/variables.tf", `var.mirror_of == null || var.keys == "bucket"`, `true`},
		{"mirrors of what nobody can read", "gcp/variables.tf", `length(var.mirrors) == 0 || var.keys == "bucket"`, `true`},
	}},
}

func mirrorSettings(c configuration) error {
	issuers := map[string]string{
		"gcp":   `coalesce(var.mirror_of, var.issuer_base, local.own_base)`,
		"azure": `var.mirror_of != null ? var.mirror_of : var.issuer_base != null ? var.issuer_base : local.own_base`,
	}
	modules, err := c.blocks("", "module")
	if err != nil {
		return err
	}
	for _, module := range modules {
		cloud := folder(module.file)
		if issuers[cloud] == "" || module.Labels[0] != "clusters" {
			continue
		}
		want := map[string]string{"issuer_base": `local.issuer_base`, "mirrors": `var.mirrors`, "served_at": `var.mirror_of == null ? null : local.own_base`}
		if cloud == "gcp" {
			want["private"] = `!local.is_public`
		}
		for at, want := range want {
			if got := module.source(at); got != want {
				return fmt.Errorf("%s: %s is %q, want %s", cloud, at, got, want)
			}
		}
		locals, err := c.blocks(cloud, "locals")
		if err != nil {
			return err
		}
		if got := find(locals, "issuer_base"); got != issuers[cloud] {
			return fmt.Errorf("%s: the issuers are under %s, want %s", cloud, got, issuers[cloud])
		}
		delete(issuers, cloud)
	}
	if len(issuers) > 0 {
		return fmt.Errorf("no clusters at %v", issuers)
	}
	return mirrorChoices(c)
}

// find is the text of a local value.
func find(locals []block, name string) string {
	for _, b := range locals {
		if source := b.source(name); source != "" {
			return source
		}
	}
	return ""
}

func mirrorChoices(c configuration) error {
	for _, want := range []struct{ folder, variable, condition string }{
		{"gcp", "mirror_of", `var.mirror_of == null || var.issuer_base == null`},
		{"gcp", "mirror_of", `var.mirror_of == null || var.keys == "bucket"`},
		{"gcp", "mirrors", `length(var.mirrors) == 0 || var.keys == "bucket"`},
		{"azure", "mirror_of", `var.mirror_of == null || var.issuer_base == null`},
	} {
		variable, err := c.variable(want.folder, want.variable)
		if err != nil {
			return err
		}
		found := false
		for _, validation := range variable.inner("validation") {
			found = found || validation.source("condition") == want.condition
		}
		if !found {
			return fmt.Errorf("%s: %s may be without %s", want.folder, want.variable, want.condition)
		}
	}
	return nil
}
