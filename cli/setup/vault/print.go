package vault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// print writes what would do the same.
func print(out io.Writer, r trust.VaultReport, form string) error {
	var b bytes.Buffer
	for _, m := range r.Mounts {
		if form == plan.Terraform {
			terraform(&b, m)
			continue
		}
		fmt.Fprintf(&b, "vault auth enable -path=%s -description='%s' jwt\n", m.Path, description(m))
		writeCommand(&b, "auth/"+m.Path+"/config", fields(m.Config))
		for _, role := range m.Roles {
			body := roleFields(role)
			writeCommand(&b, "auth/"+m.Path+"/role/"+role.Name, body)
		}
	}
	_, err := out.Write(b.Bytes())
	return err
}

func writeCommand(b *bytes.Buffer, path string, body object) {
	fmt.Fprintf(b, "vault write %s - <<'JSON'\n%s\nJSON\n", path, indented(body))
}

func indented(value any) string {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("setup: text can't be written as JSON: %v", err))
	}
	return string(text)
}

// terraform writes for the provider hashicorp/vault.
func terraform(b *bytes.Buffer, m trust.VaultMount) {
	name := "kube_" + strings.NewReplacer("/", "_", ".", "_").Replace(m.Path)
	config := fields(m.Config)
	config["path"], config["description"] = m.Path, description(m)
	fmt.Fprintf(b, "resource \"vault_jwt_auth_backend\" %q {\n", name)
	attributes(b, config, "")
	b.WriteString("}\n\n")
	for _, role := range m.Roles {
		body := roleFields(role)
		body["role_name"], body["token_ttl"] = role.Name, inSeconds(role.TokenTTL)
		fmt.Fprintf(b, "resource \"vault_jwt_auth_backend_role\" %q {\n", name+"_"+strings.ReplaceAll(role.Name, ".", "_"))
		attributes(b, body, "vault_jwt_auth_backend."+name+".path")
		b.WriteString("}\n\n")
	}
}

// attributes are written as terraform fmt has them: aligned, and maps last. No value here has a template's ${ in it.
func attributes(b *bytes.Buffer, body object, backend string) {
	lines := map[string]string{}
	if backend != "" {
		lines["backend"] = backend
	}
	for key, value := range body {
		if _, is := value.(object); !is {
			lines[key] = inLine(value)
		}
	}
	aligned(b, "  ", lines)
	for _, key := range slices.Sorted(maps.Keys(body)) {
		members, is := body[key].(object)
		if !is {
			continue
		}
		inner := map[string]string{}
		for name, value := range members {
			inner[inLine(name)] = inLine(value)
		}
		fmt.Fprintf(b, "  %s = {\n", key)
		aligned(b, "    ", inner)
		b.WriteString("  }\n")
	}
}

func aligned(b *bytes.Buffer, indent string, lines map[string]string) {
	width := 0
	for name := range lines {
		width = max(width, len(name))
	}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		fmt.Fprintf(b, "%s%-*s = %s\n", indent, width, name, lines[name])
	}
}

// inLine is a value as JSON, which HCL reads.
func inLine(value any) string {
	if list, is := value.([]any); is {
		var all []string
		for _, each := range list {
			all = append(all, inLine(each))
		}
		return "[" + strings.Join(all, ", ") + "]"
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("setup: text can't be written as JSON: %v", err))
	}
	return string(text)
}
