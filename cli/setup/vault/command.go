package vault

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

type flags struct {
	who                          trust.Flags
	vault                        trust.Vault
	options                      plan.Options
	address, namespace, caBundle string
	flush                        bool
}

// Command is `kube-iam-assume setup vault`.
func Command() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "vault",
		Short: "Make the JWT auth method for clusters' issuers in Vault or OpenBao, and roles of service accounts",
		Long: `vault makes a JWT auth method for each issuer, with the issuer bound, and a role for each --service-account. It shows what differs and asks; what is
right already, it leaves alone. A mount with another issuer is refused. Policies and life times of roles that are there stay, unless you say --policy and --ttl.

The token is taken from VAULT_TOKEN and nowhere else; VAULT_ADDR, VAULT_NAMESPACE and VAULT_CACERT mean what they mean to vault.

Vault never forgets a key that it has read, until it meets an unknown one: after a revocation say --flush, which writes the configuration again.
--remove deletes the roles, and then the auth method if it has no other.`,
		Example: `  kube-iam-assume setup vault --issuer https://oidc.example.com/prod --service-account production/payments --policy payments --dry-run
  kube-iam-assume setup vault --issuer https://oidc.example.com/prod --flush --yes
  kube-iam-assume setup vault --issuer https://oidc.example.com/prod --service-account production/payments --print terraform`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.who.Add(c)
	f.vault.Add(c)
	c.Flags().StringVar(&f.address, "address", "", "`URL` of Vault; default: VAULT_ADDR")
	c.Flags().StringVar(&f.namespace, "namespace", "", "`name` of a namespace of Vault's; default: VAULT_NAMESPACE")
	c.Flags().StringVar(&f.caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuers' hosts, for Vault to fetch keys by, if it is not a public one")
	c.Flags().BoolVar(&f.flush, "flush", false, "write the configuration again, even if nothing differs, so that Vault forgets the keys that it has read")
	f.options.Flags(c, "vault")
	return c
}

func (f *flags) run(c *cobra.Command) error {
	report, err := f.report(c)
	if err != nil {
		return err
	}
	if f.options.Print != "" {
		return print(c.OutOrStdout(), report, f.options.Print)
	}
	client, err := connect(or(f.address, "VAULT_ADDR"), or(f.namespace, "VAULT_NAMESPACE"))
	if errors.Is(err, ErrAddress) || errors.Is(err, ErrToken) {
		return command.Usage(c, err)
	}
	if err != nil {
		return err
	}
	p := &planner{
		client: client, plan: &plan.Plan{}, flush: f.flush,
		policies: c.Flags().Changed("policy"), timeGiven: c.Flags().Changed("ttl"),
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

// report checks everything that can be checked without Vault.
func (f *flags) report(c *cobra.Command) (trust.VaultReport, error) {
	if err := f.options.Check(c); err != nil {
		return trust.VaultReport{}, err
	}
	if f.flush && (f.options.Remove || f.options.Print != "") {
		return trust.VaultReport{}, command.Usage(c, errors.New("--flush goes with neither --remove nor --print"))
	}
	who, err := f.who.Selection()
	if err != nil {
		return trust.VaultReport{}, trust.Told(c, err)
	}
	if f.caBundle != "" {
		pem, err := os.ReadFile(f.caBundle)
		if err != nil {
			return trust.VaultReport{}, err
		}
		f.vault.CA = string(pem)
	}
	report, err := f.vault.Report(who)
	return report, trust.Told(c, err)
}

func or(value, variable string) string {
	if value != "" {
		return value
	}
	return os.Getenv(variable)
}
