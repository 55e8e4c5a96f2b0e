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
		fmt.Fprintf(&b, "vault auth enable -path=%s jwt\n", m.Path)
		writeCommand(&b, "auth/"+m.Path+"/config", fields(m.Config))
		for _, role := range m.Roles {
			body := fields(role)
			delete(body, "name")
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
	fmt.Fprintf(b, "resource \"vault_jwt_auth_backend\" %q {\n", name)
	attribute(b, "path", m.Path)
	attributes(b, fields(m.Config))
	b.WriteString("}\n\n")
	for _, role := range m.Roles {
		body := fields(role)
		delete(body, "name")
		body["token_ttl"] = inSeconds(role.TokenTTL)
		fmt.Fprintf(b, "resource \"vault_jwt_auth_backend_role\" %q {\n  backend = vault_jwt_auth_backend.%s.path\n", name+"_"+strings.ReplaceAll(role.Name, ".", "_"), name)
		attribute(b, "role_name", role.Name)
		attributes(b, body)
		b.WriteString("}\n\n")
	}
}

func attributes(b *bytes.Buffer, body object) {
	for _, key := range slices.Sorted(maps.Keys(body)) {
		attribute(b, key, body[key])
	}
}

// attribute writes a value as JSON, which HCL reads, members and their colons included. No value here has a template's ${ in it.
func attribute(b *bytes.Buffer, key string, value any) {
	fmt.Fprintf(b, "  %s = %s\n", key, strings.ReplaceAll(indented(value), "\n", "\n  "))
}
