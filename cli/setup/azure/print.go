package azure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// print writes what would do the same.
func (f *flags) print(out io.Writer, credentials []trust.AzureCredential) error {
	var b bytes.Buffer
	switch {
	case f.options.Print == plan.Terraform:
		f.terraform(&b, credentials)
	case f.application != "":
		f.applicationCLI(&b, credentials)
	default:
		f.identityCLI(&b, credentials)
	}
	_, err := out.Write(b.Bytes())
	return err
}

// identityCLI writes for a POSIX shell. Nothing in it needs quotes but the names of resource groups, which may have parentheses.
func (f *flags) identityCLI(b *bytes.Buffer, credentials []trust.AzureCredential) {
	subscription, group, name := parts(f.identity)
	where := fmt.Sprintf("--subscription %s --resource-group '%s'", subscription, group)
	if f.location != "" {
		fmt.Fprintf(b, "az identity create %s --name %s --location %s --tags %s=%s\n", where, name, f.location, tagKey, tagValue)
	}
	for _, each := range credentials {
		fmt.Fprintf(b, "az identity federated-credential create %s --identity-name %s \\\n  --name %s \\\n  --issuer %s \\\n  --subject %s --audiences %s\n",
			where, name, each.Name, each.Issuer, each.Subject, each.Audiences[0])
	}
}

func (f *flags) applicationCLI(b *bytes.Buffer, credentials []trust.AzureCredential) {
	for _, each := range credentials {
		body, err := json.MarshalIndent(each, "", "  ")
		if err != nil {
			panic(fmt.Sprintf("setup: text can't be written as JSON: %v", err))
		}
		fmt.Fprintf(b, "az ad app federated-credential create --id %s --parameters '%s'\n", f.application, body) // no single quote in it
	}
}

func (f *flags) terraform(b *bytes.Buffer, credentials []trust.AzureCredential) {
	kind, owner, is := "azurerm_federated_identity_credential", "user_assigned_identity_id", fmt.Sprintf("%q", f.identity)
	list := "audience "
	switch {
	case f.application != "":
		fmt.Fprintf(b, "data \"azuread_application\" \"kube\" {\n  client_id = %q\n}\n\n", f.application)
		kind, owner, is, list = "azuread_application_federated_identity_credential", "application_id", "data.azuread_application.kube.id", "audiences"
	case f.location != "":
		_, group, name := parts(f.identity)
		resource := "kube_" + strings.ReplaceAll(name, "-", "_")
		fmt.Fprintf(b, "resource \"azurerm_user_assigned_identity\" %q {\n  name                = %q\n  resource_group_name = %q\n  location            = %q\n  tags                = { %s = %q }\n}\n\n",
			resource, name, group, f.location, tagKey, tagValue)
		is = "azurerm_user_assigned_identity." + resource + ".id"
	}
	name := "name"
	if f.application != "" {
		name = "display_name"
	}
	for _, each := range credentials {
		fmt.Fprintf(b, "resource %q %q {\n", kind, strings.ReplaceAll(each.Name, "-", "_"))
		width := len(owner)
		for _, attribute := range [][2]string{
			{name, fmt.Sprintf("%q", each.Name)},
			{owner, is},
			{"issuer", fmt.Sprintf("%q", each.Issuer)},
			{"subject", fmt.Sprintf("%q", each.Subject)},
			{strings.TrimSpace(list), fmt.Sprintf("[%q]", each.Audiences[0])},
		} {
			fmt.Fprintf(b, "  %-*s = %s\n", width, attribute[0], attribute[1])
		}
		b.WriteString("}\n\n")
	}
}
