package doctor

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// cloudFlags are those of the setup commands, each with its cloud's name before it. A cloud is asked if one of its flags names it.
type cloudFlags struct {
	askAWS, askVault bool
	aws              aws.Registration
	gcp              gcp.Registration
	azure            azure.Registration
	vault            vault.Registration
}

func (f *cloudFlags) add(c *cobra.Command) {
	s := c.Flags()
	s.BoolVar(&f.askAWS, "aws", false, "ask AWS, with the credentials of its SDK, for the identity provider and the roles' trust policies")
	s.StringVar(&f.aws.Account, "aws-account", "", "`ID` of the AWS account; default: that of the credentials")
	s.StringVar(&f.aws.Partition, "aws-partition", "", "`name` of the partition; default: that of the credentials")
	s.StringVar(&f.aws.Audience, "aws-audience", trust.AWSAudience, "`audience` of the tokens for AWS")
	s.StringArrayVar(&f.aws.Roles, "aws-role", nil, "`name` or ARN of a role that is to let --service-account in, as often as needed; default: all that name the issuer")

	s.StringVar(&f.gcp.Pool, "gcp-pool", "", "ask Google for this pool, by its full `name`: projects/NUMBER/locations/global/workloadIdentityPools/ID")
	s.StringVar(&f.gcp.Provider, "gcp-provider", "", "ask Google for this provider, by its full `name`; default: the pool's one of the issuer")
	s.StringVar(&f.gcp.Audience, "gcp-audience", "", "`audience` of the tokens for Google; default: the provider's name")
	s.StringVar(&f.gcp.Impersonate, "gcp-impersonate", "", "`address` of the Google service account that --service-account acts as")
	s.BoolVar(&f.gcp.AdmitUnbound, "gcp-admit-unbound", false, "the provider is to take tokens that are not bound to a pod")

	s.StringVar(&f.azure.Identity, "azure-identity", "", "ask Azure for this user-assigned identity: its resource `ID`, or its name with --azure-resource-group")
	s.StringVar(&f.azure.Subscription, "azure-subscription", "", "`ID` of the identity's subscription; default: AZURE_SUBSCRIPTION_ID")
	s.StringVar(&f.azure.ResourceGroup, "azure-resource-group", "", "`name` of the identity's resource group")
	s.StringVar(&f.azure.Application, "azure-application", "", "ask Microsoft Graph for this application, by its client `ID`")
	s.StringVar(&f.azure.Cloud, "azure-cloud", "public", "`name` of Azure's cloud: public, government or china")
	s.StringVar(&f.azure.Audience, "azure-audience", "", "`audience` of the tokens for Entra; default: the cloud's, "+trust.AzureAudience+" in the public one")

	s.BoolVar(&f.askVault, "vault", false, "ask Vault or OpenBao, with VAULT_TOKEN, for the auth method and the role")
	s.StringVar(&f.vault.Address, "vault-address", "", "`URL` of Vault; default: VAULT_ADDR")
	s.StringVar(&f.vault.Namespace, "vault-namespace", "", "`name` of a namespace of Vault's; default: VAULT_NAMESPACE")
	s.StringVar(&f.vault.Mount, "vault-mount", "", "`path` of the JWT auth method; default: kubernetes-CLUSTER")
	s.StringVar(&f.vault.Role, "vault-role", "", "`name` of the role of --service-account; default: NAMESPACE.NAME")
	s.StringVar(&f.vault.Audience, "vault-audience", trust.VaultAudience, "`audience` of the tokens for Vault")
}

var providerPattern = regexp.MustCompile(`^projects/[0-9]+/locations/global/workloadIdentityPools/[^/]+(/providers/[^/]+)?$`)

// readers are those of the clouds that the flags name, and the audiences of tokens for them. The error is a wrong call.
func (f *cloudFlags) readers() (all []registration.Reader, audiences []string, err error) {
	if err := f.check(); err != nil {
		return nil, nil, err
	}
	if f.askAWS {
		all, audiences = append(all, f.aws), append(audiences, f.aws.Audience)
	}
	if f.gcp.Pool+f.gcp.Provider != "" {
		all = append(all, f.gcp)
		switch {
		case f.gcp.Audience != "":
			audiences = append(audiences, f.gcp.Audience)
		case f.gcp.Provider != "":
			audiences = append(audiences, "https://iam.googleapis.com/"+f.gcp.Provider)
		}
	}
	if f.azure.Identity+f.azure.Application+f.azure.ResourceGroup != "" {
		if f.azure, err = f.azure.Normal(); err != nil {
			return nil, nil, fmt.Errorf("--azure-…, as in setup azure: %w", err)
		}
		all, audiences = append(all, f.azure), append(audiences, f.azure.Audience)
	}
	if f.askVault {
		all, audiences = append(all, f.vault), append(audiences, f.vault.Audience)
	}
	return all, audiences, nil
}

// check refuses flags of a cloud that none of them names.
func (f *cloudFlags) check() error {
	switch {
	case !f.askAWS && (f.aws.Account != "" || len(f.aws.Roles) > 0):
		return errors.New("--aws-account and --aws-role: say --aws, too")
	case !f.askVault && (f.vault.Address != "" || f.vault.Mount != "" || f.vault.Role != ""):
		return errors.New("--vault-address, --vault-mount and --vault-role: say --vault, too")
	case f.gcp.Pool+f.gcp.Provider == "" && f.gcp.Impersonate != "":
		return errors.New("--gcp-impersonate: say --gcp-pool or --gcp-provider, too")
	}
	for _, name := range []string{f.gcp.Pool, f.gcp.Provider} {
		if name != "" && !providerPattern.MatchString(name) {
			return fmt.Errorf("--gcp-pool or --gcp-provider %q: want projects/NUMBER/locations/global/workloadIdentityPools/ID, with /providers/ID of a provider", name)
		}
	}
	return nil
}
