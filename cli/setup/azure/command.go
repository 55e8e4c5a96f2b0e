package azure

import (
	"errors"
	"fmt"
	"os"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

const (
	guid  = `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	group = `[-\w.()]{0,89}[-\w()]` // no dot at the end
	named = `[A-Za-z0-9][-\w]{2,127}`
)

var (
	identityPattern = regexp.MustCompile(`^/subscriptions/(` + guid + `)/resource[gG]roups/(` + group + `)/providers/Microsoft\.ManagedIdentity/userAssignedIdentities/(` + named + `)$`)
	guidPattern     = regexp.MustCompile(`^` + guid + `$`)
	groupPattern    = regexp.MustCompile(`^` + group + `$`)
	namePattern     = regexp.MustCompile(`^` + named + `$`)
	locationPattern = regexp.MustCompile(`^[a-z0-9]{3,40}$`)
)

// audiences are Entra's in each cloud.
var audiences = map[string]string{"public": trust.AzureAudience, "government": trust.AzureAudience + "USGov", "china": trust.AzureAudience + "China"}

type flags struct {
	who                           trust.Flags
	settings                      trust.Azure
	options                       plan.Options
	identity, application, cloud  string
	subscription, group, location string
}

// Command is `kube-iam-assume setup azure`. The client is nil but for who reaches Azure elsewhere.
func Command(client *Client) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "azure",
		Short: "Make a user-assigned identity, or take one or an application, and give it federated credentials for service accounts",
		Long: `azure gives a user-assigned identity, or an application, a federated credential for each service account in each cluster, one after the other, as Entra takes
them. An identity that is not there is made if you say --location; the resource group must be there, and an application, too. It shows what differs and asks;
what is right already, by issuer and subject, it leaves alone under whatever name, and others' credentials stay. An identity has at most 20.
Credentials are those of Azure's SDK: its environment variables, a managed identity, az login.

--remove deletes these credentials, and then the identity if setup made it (its tag says so) and no credential is left on it.`,
		Example: `  kube-iam-assume setup azure --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --dry-run \
    --identity payments --resource-group prod --subscription 00000000-0000-0000-0000-000000000001 --location westeurope
  kube-iam-assume setup azure --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --print terraform \
    --identity /subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/payments
  kube-iam-assume setup azure --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --application 00000000-0000-0000-0000-000000000002`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, client) },
	}
	f.who.Add(c)
	s := c.Flags()
	s.StringVar(&f.identity, "identity", "", "`name` of the user-assigned identity, with --resource-group, or its resource ID: az identity show --query id")
	s.StringVar(&f.subscription, "subscription", "", "`ID` of the identity's subscription; default: AZURE_SUBSCRIPTION_ID")
	s.StringVar(&f.group, "resource-group", "", "`name` of the identity's resource group")
	s.StringVar(&f.location, "location", "", "`region` in which to make the identity if it is not there, such as westeurope")
	s.StringVar(&f.application, "application", "", "client `ID` of an app registration instead of an identity")
	s.StringVar(&f.settings.Audience, "audience", "", "`audience` of the tokens; default: the cloud's, "+trust.AzureAudience+" in the public one")
	s.StringVar(&f.cloud, "cloud", "public", "`name`: public, government or china")
	f.options.Flags(c, "az")
	return c
}

func (f *flags) run(c *cobra.Command, client *Client) error {
	report, err := f.check(c)
	if err != nil {
		return err
	}
	if f.options.Print != "" {
		return f.print(c.OutOrStdout(), report.Identities[0].Credentials)
	}
	p, err := f.planner(client)
	if err != nil {
		return err
	}
	find := p.set
	if f.options.Remove {
		find = p.remove
	}
	if err := find(c.Context(), report); err != nil {
		return err
	}
	return f.options.Carry(c, p.plan)
}

// check checks everything that can be checked without Azure.
func (f *flags) check(c *cobra.Command) (trust.AzureReport, error) {
	if err := f.options.Check(c); err != nil {
		return trust.AzureReport{}, err
	}
	if err := f.checkOwner(); err != nil {
		return trust.AzureReport{}, command.Usage(c, err)
	}
	if f.settings.Audience == "" {
		f.settings.Audience = audiences[f.cloud]
	}
	who, err := f.who.Selection()
	if err != nil {
		return trust.AzureReport{}, trust.Told(c, err)
	}
	report, err := f.settings.Report(who)
	if err != nil {
		return report, trust.Told(c, err)
	}
	if len(report.Identities) > 1 && !f.options.Remove {
		return report, command.Usage(c, errors.New(report.Notes[len(report.Notes)-1]+" Run setup for some of them at a time, each time with another --identity"))
	}
	return report, nil
}

// checkOwner makes a resource ID of the identity's names.
func (f *flags) checkOwner() error {
	if _, known := clouds[f.cloud]; !known {
		return fmt.Errorf("--cloud %q: want public, government or china", f.cloud)
	}
	if (f.identity == "") == (f.application == "") {
		return errors.New("whose credentials? want --identity or --application")
	}
	if f.application != "" {
		return f.checkApplication()
	}
	if f.location != "" && !locationPattern.MatchString(f.location) {
		return fmt.Errorf("--location %q: want the name of a region, such as westeurope: az account list-locations --query '[].name'", f.location)
	}
	if namePattern.MatchString(f.identity) && f.group != "" {
		if f.subscription == "" {
			f.subscription = os.Getenv("AZURE_SUBSCRIPTION_ID")
		}
		if !guidPattern.MatchString(f.subscription) || !groupPattern.MatchString(f.group) {
			return fmt.Errorf("--subscription %q, --resource-group %q: want a subscription's ID (or AZURE_SUBSCRIPTION_ID) and a group's name", f.subscription, f.group)
		}
		f.identity = "/subscriptions/" + f.subscription + "/resourceGroups/" + f.group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + f.identity
		return nil
	}
	if !identityPattern.MatchString(f.identity) {
		return fmt.Errorf("--identity %q: want a name with --resource-group, or /subscriptions/ID/resourceGroups/NAME/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME", f.identity)
	}
	if f.group != "" || f.subscription != "" {
		return errors.New("--identity is a resource ID, which has --subscription and --resource-group in it: want one or the other")
	}
	return nil
}

func (f *flags) checkApplication() error {
	if !guidPattern.MatchString(f.application) {
		return fmt.Errorf("--application %q: want the client ID of an app registration: az ad app list --query '[].appId'", f.application)
	}
	if f.group != "" || f.location != "" || f.subscription != "" {
		return errors.New("--application goes with none of --subscription, --resource-group and --location: it belongs to the tenant, and setup makes none")
	}
	return nil
}

func (f *flags) planner(client *Client) (*planner, error) {
	client, err := login(client, f.cloud)
	if err != nil {
		return nil, err
	}
	if f.application != "" {
		return &planner{owner: &application{client.graph(), f.application}, plan: &plan.Plan{}}, nil
	}
	manager, err := client.resourceManager()
	if err != nil {
		return nil, err
	}
	_, group, _ := parts(f.identity)
	i := &identity{caller: manager, id: f.identity, group: group, location: f.location}
	return &planner{owner: i, identity: i, plan: &plan.Plan{}}, nil
}
