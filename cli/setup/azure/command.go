package azure

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

var identityPattern = regexp.MustCompile(`^/subscriptions/([0-9a-fA-F-]{36})/resource[gG]roups/([-\w.()]{1,90})/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/([-\w]{3,128})$`)

type flags struct {
	who             trust.Flags
	settings        trust.Azure
	options         plan.Options
	identity, cloud string
}

// Command is `kube-iam-assume setup azure`. The client is nil but for who reaches Azure elsewhere.
func Command(client *Client) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "azure",
		Short: "Give a user-assigned identity federated credentials for service accounts",
		Long: `azure gives a user-assigned identity a federated credential for each service account in each cluster, one after the other, as Entra takes them. It shows what
differs and asks; what is right already, by issuer and subject, it leaves alone under whatever name, and others' credentials stay. An identity has at most 20.
Credentials are those of Azure's SDK: its environment variables, a managed identity, az login.

--remove deletes these credentials. The identity and its roles stay.`,
		Example: `  kube-iam-assume setup azure --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --dry-run \
    --identity /subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/payments`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, client) },
	}
	f.who.Add(c)
	c.Flags().StringVar(&f.identity, "identity", "", "resource `ID` of the user-assigned identity: az identity show --query id")
	c.Flags().StringVar(&f.settings.Audience, "audience", trust.AzureAudience, "`audience` of the tokens; sovereign clouds have another suffix")
	c.Flags().StringVar(&f.cloud, "cloud", "public", "`name`: public, government or china")
	f.options.Flags(c, "az")
	_ = c.MarkFlagRequired("identity") // it exists
	return c
}

func (f *flags) run(c *cobra.Command, client *Client) error {
	if err := f.options.Check(c); err != nil {
		return err
	}
	if _, known := clouds[f.cloud]; !known {
		return command.Usage(c, fmt.Errorf("--cloud %q: want public, government or china", f.cloud))
	}
	if !identityPattern.MatchString(f.identity) {
		return command.Usage(c, fmt.Errorf("--identity %q: want /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", f.identity))
	}
	who, err := f.who.Selection()
	if err != nil {
		return trust.Told(c, err)
	}
	report, err := f.settings.Report(who)
	if err != nil {
		return trust.Told(c, err)
	}
	if len(report.Identities) > 1 && !f.options.Remove {
		return command.Usage(c, errors.New(report.Notes[len(report.Notes)-1]+" Run setup for some of them at a time, each time with another --identity"))
	}
	if f.options.Print != "" {
		return f.print(c.OutOrStdout(), report.Identities[0].Credentials)
	}
	m, err := connect(client, f.cloud, f.identity)
	if err != nil {
		return err
	}
	p := &planner{manager: m, plan: &plan.Plan{}}
	find := p.set
	if f.options.Remove {
		find = p.remove
	}
	if err := find(c.Context(), report); err != nil {
		return err
	}
	return f.options.Carry(c, p.plan)
}

// print writes what would do the same. Nothing in it needs quotes.
func (f *flags) print(out io.Writer, credentials []trust.AzureCredential) error {
	parts := identityPattern.FindStringSubmatch(f.identity)
	for _, each := range credentials {
		var err error
		if f.options.Print == plan.Terraform {
			_, err = fmt.Fprintf(out, "resource \"azurerm_federated_identity_credential\" %q {\n  name                      = %q\n  user_assigned_identity_id = %q\n  issuer                    = %q\n  subject                   = %q\n  audience                  = [%q]\n}\n\n",
				strings.ReplaceAll(each.Name, "-", "_"), each.Name, f.identity, each.Issuer, each.Subject, each.Audiences[0])
		} else {
			_, err = fmt.Fprintf(out, "az identity federated-credential create --subscription %s --resource-group %s --identity-name %s \\\n  --name %s \\\n  --issuer %s \\\n  --subject %s --audiences %s\n",
				parts[1], parts[2], parts[3], each.Name, each.Issuer, each.Subject, each.Audiences[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
