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

// resourceType is what Terraform calls a federated credential, and its attributes.
type resourceType struct{ provider, kind, name, owner, audiences string }

var (
	ofIdentity    = resourceType{"hashicorp/azurerm, 5.2 or newer", "azurerm_federated_identity_credential", "name", "user_assigned_identity_id", "audience"}
	ofApplication = resourceType{"hashicorp/azuread, 3.0 or newer", "azuread_application_federated_identity_credential", "display_name", "application_id", "audiences"}
)

func (f *flags) terraform(b *bytes.Buffer, credentials []trust.AzureCredential) {
	kind, owner := ofIdentity, fmt.Sprintf("%q", f.identity)
	if f.application != "" {
		kind, owner = ofApplication, "data.azuread_application.kube.id"
	}
	fmt.Fprintf(b, "# For the provider %s.\n", kind.provider)
	switch {
	case f.application != "":
		fmt.Fprintf(b, "data \"azuread_application\" \"kube\" {\n  client_id = %q\n}\n\n", f.application)
	case f.location != "":
		_, group, name := parts(f.identity)
		resource := "kube_" + strings.ReplaceAll(name, "-", "_")
		fmt.Fprintf(b, "resource \"azurerm_user_assigned_identity\" %q {\n  name                = %q\n  resource_group_name = %q\n  location            = %q\n  tags                = { %s = %q }\n}\n\n",
			resource, name, group, f.location, tagKey, tagValue)
		owner = "azurerm_user_assigned_identity." + resource + ".id"
	}
	for _, each := range credentials {
		fmt.Fprintf(b, "resource %q %q {\n", kind.kind, strings.ReplaceAll(each.Name, "-", "_"))
		for _, attribute := range [][2]string{
			{kind.name, fmt.Sprintf("%q", each.Name)},
			{kind.owner, owner},
			{"issuer", fmt.Sprintf("%q", each.Issuer)},
			{"subject", fmt.Sprintf("%q", each.Subject)},
			{kind.audiences, fmt.Sprintf("[%q]", each.Audiences[0])},
		} {
			fmt.Fprintf(b, "  %-*s = %s\n", len(kind.owner), attribute[0], attribute[1])
		}
		b.WriteString("}\n\n")
	}
}
