package trust

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// Command is `kube-iam-assume trust`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "trust",
		Short: "Print the policy by which a cloud lets service accounts in",
		Long: `trust prints what a cloud is to be told so that it lets service accounts of your clusters in, and nobody else: always the audience and the
subject, exactly. It asks nobody and changes nothing; setup registers the same things.`,
		Args: command.Exactly(0, "one of the commands below"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(awsCommand(), gcpCommand(), azureCommand(), vaultCommand())
	return c
}

// A report is printed whole with -o, and for people in the form that its provider takes, with the notes on standard error.
type report interface {
	Text(out io.Writer) error
}

// printing makes a command of a report.
func printing(c *cobra.Command, write func(Selection) (report, []string, error)) *cobra.Command {
	var who Flags
	var output command.Output
	who.Add(c)
	output.Flag(c)
	c.Args = command.Exactly(0, "no arguments; who is let in is said by flags")
	c.RunE = func(c *cobra.Command, _ []string) error {
		s, err := who.Selection()
		if err != nil {
			return Told(c, err)
		}
		r, notes, err := write(s)
		if err != nil {
			return Told(c, err)
		}
		if output.ForPeople() {
			PrintNotes(c.ErrOrStderr(), notes)
		}
		return output.Print(c.OutOrStdout(), r, r.Text)
	}
	return c
}

// Told marks the package's ErrInput as what a person typed wrong.
func Told(c *cobra.Command, err error) error {
	if errors.Is(err, ErrInput) {
		return command.Usage(c, err)
	}
	return err
}

// PrintNotes writes notes and warnings, a line each.
func PrintNotes(out io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintln(out, note)
	}
}

// Add puts the account's flags on a command.
func (a *AWS) Add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&a.Account, "account", "", "`ID` of the AWS account that has the roles")
	flags.StringVar(&a.Partition, "partition", "aws", "`name` of the partition: aws, aws-cn or aws-us-gov")
	flags.StringVar(&a.Audience, "audience", AWSAudience, "`audience` of the tokens")
	flags.IntVar(&a.Characters, "max-characters", AWSCharacters, "`number` of characters that IAM's quota L-C07B4B0D allows a trust policy")
}

func awsCommand() *cobra.Command {
	var a AWS
	c := printing(&cobra.Command{
		Use:   "aws",
		Short: "Print trust policies of IAM roles",
		Long: `aws prints the trust policy of a role, ready for iam create-role --assume-role-policy-document. A policy that would be longer than IAM's quota
becomes several, each for a role of its own, printed one after the other.

Session tags can't come from a Kubernetes token: the API server decides what it claims. Tell workloads apart by roles.`,
		Example: `  kube-iam-assume trust aws --account 111122223333 --issuer https://oidc.example.com/prod --service-account production/payments > trust.json
  kube-iam-assume trust aws --account 111122223333 --publisher publisher.yaml --service-account production/payments -o yaml`,
	}, func(s Selection) (report, []string, error) {
		r, err := a.Report(s)
		return r, r.Notes, err
	})
	a.Add(c)
	_ = c.MarkFlagRequired("account") // it exists
	return c
}

// Add puts the pool's flags on a command.
func (g *GCP) Add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&g.Pool, "pool", "", "full `name` of the pool: projects/NUMBER/locations/global/workloadIdentityPools/ID")
	flags.BoolVar(&g.AdmitUnbound, "admit-unbound", false, "take tokens that are not bound to a pod, as kubectl create token makes them")
}

func gcpCommand() *cobra.Command {
	var g GCP
	c := printing(&cobra.Command{
		Use:   "gcp",
		Short: "Print Workload Identity providers and the principals of grants",
		Long: `gcp prints, for each cluster, the provider of a Workload Identity pool with its mapping (down to the pod) and condition, and the principal that a grant
has to name for each service account. It is the mapping of deploy/terraform/gcp/trust.

The audience is the provider's own name, which nothing else in the world accepts. Names longer than Google takes are told by their UID.`,
		Example: `  kube-iam-assume trust gcp --pool projects/123456789012/locations/global/workloadIdentityPools/kubernetes \
    --issuer https://oidc.example.com/prod-eu1 --service-account production/payments`,
	}, func(s Selection) (report, []string, error) {
		r, err := g.Report(s)
		return r, r.Notes, err
	})
	g.Add(c)
	_ = c.MarkFlagRequired("pool") // it exists
	return c
}

func azureCommand() *cobra.Command {
	var a Azure
	c := printing(&cobra.Command{
		Use:   "azure",
		Short: "Print federated credentials of Microsoft Entra",
		Long: `azure prints the federated credentials of an application or a user-assigned identity. An identity has at most 20 of them, one for each service account
in each cluster; more are told to be several identities'. Entra knows no wildcards for an issuer of your own, so there is no whole namespace.`,
		Example: `  kube-iam-assume trust azure --issuer https://oidc.example.com/prod-eu1 --service-account production/payments -o json`,
	}, func(s Selection) (report, []string, error) {
		r, err := a.Report(s)
		return r, r.Notes, err
	})
	c.Flags().StringVar(&a.Audience, "audience", AzureAudience, "`audience` of the tokens; sovereign clouds have another suffix")
	return c
}

// Add puts the flags of mounts and roles on a command.
func (v *Vault) Add(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&v.Audience, "audience", VaultAudience, "`audience` of the tokens; where there are several Vaults, give each its own, such as its URL")
	flags.StringVar(&v.Mount, "mount", "", "`path` of the JWT auth method; default: kubernetes-CLUSTER")
	flags.BoolVar(&v.JWKSURL, "jwks-url", false, "give Vault the URL of the keys instead of the discovery document's")
	flags.StringArrayVar(&v.Policies, "policy", nil, "`name` of a policy of Vault's that the roles get; as often as needed")
	flags.StringVar(&v.TTL, "ttl", "1h", "`time` that Vault's tokens live")
}

func vaultCommand() *cobra.Command {
	var v Vault
	c := printing(&cobra.Command{
		Use:   "vault",
		Short: "Print JWT auth mounts and roles of Vault and OpenBao",
		Long: `vault prints the JWT auth method for each cluster, and a role for each service account. The issuer is always bound: without that, Vault takes tokens of
anybody's issuer that one of these keys signed, the legacy ones from Secrets included. Claims are JSON pointers, with the leading slash.`,
		Example: `  kube-iam-assume trust vault --issuer https://oidc.example.com/prod --service-account production/payments --policy payments`,
	}, func(s Selection) (report, []string, error) {
		if err := s.Check(); err != nil {
			return nil, nil, err
		}
		r, err := v.Report(s)
		return r, r.Notes, err
	})
	v.Add(c)
	return c
}
