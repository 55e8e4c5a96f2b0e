package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// ErrAccount means that the credentials at hand are of another account than the one that was asked for.
var ErrAccount = errors.New("another account")

var rolePattern = regexp.MustCompile(`^[A-Za-z0-9_+=,.@-]{1,64}$`)

// Command is `kube-iam-assume setup aws`.
func Command() *cobra.Command {
	var who trust.Flags
	var account trust.AWS
	var options plan.Options
	var role string
	c := &cobra.Command{
		Use:   "aws",
		Short: "Register clusters' issuers in an AWS account, and the role of service accounts",
		Long: `aws registers each issuer as an OpenID Connect identity provider of IAM and, with --service-account, makes the role that trusts it, by audience and
subject. It shows what differs and asks; what is right already, it leaves alone, and statements of a role's trust policy about others stay.
Credentials and region are those of the AWS SDK: its environment variables, files and profiles.

--remove takes the role away first (only one that setup made; its tag says so), then a provider that no role trusts any more.`,
		Example: `  kube-iam-assume setup aws --issuer https://oidc.example.com/prod --service-account production/payments --dry-run
  kube-iam-assume setup aws --publisher publisher.yaml --service-account production/payments --role payments
  kube-iam-assume setup aws --issuer https://oidc.example.com/prod --service-account production/payments --account 111122223333 --print terraform`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			w, err := want(c, &options, &who, account, role)
			if err != nil {
				return err
			}
			if options.Print != "" {
				return w.print(c.OutOrStdout(), options.Print)
			}
			p := &planner{wanted: w, plan: &plan.Plan{}}
			if err := p.connect(c.Context(), c.Flags().Changed("partition")); err != nil {
				return err
			}
			find := p.set
			if options.Remove {
				find = p.remove
			}
			if err := find(c.Context()); err != nil {
				return trust.Told(c, err)
			}
			return options.Carry(c, p.plan)
		},
	}
	who.Add(c)
	account.Add(c)
	c.Flags().Lookup("account").Usage = "`ID` of the AWS account; default: that of the credentials, which must be of no other"
	c.Flags().StringVar(&role, "role", "", "`name` of the role; default: kube.NAMESPACE.NAME")
	options.Flags(c, "aws")
	return c
}

// want checks everything that can be checked without AWS.
func want(c *cobra.Command, options *plan.Options, flags *trust.Flags, account trust.AWS, role string) (wanted, error) {
	if err := options.Check(c); err != nil {
		return wanted{}, err
	}
	who, err := flags.Selection()
	if err != nil {
		return wanted{}, trust.Told(c, err)
	}
	w := wanted{account: account, who: who, role: role}
	if members := len(who.Accounts) + len(who.Namespaces); members == 1 && role == "" {
		w.role = defaultRole(who)
	}
	if err := w.check(options); err != nil {
		return w, command.Usage(c, err)
	}
	return w, trust.Told(c, w.checkAccount())
}

func (w wanted) check(options *plan.Options) error {
	switch {
	case options.Print != "" && w.account.Account == "":
		return errors.New("--print asks nobody, so it needs --account")
	case w.who.Empty() && w.role != "" && !options.Remove:
		return errors.New("--role is for somebody: want --service-account namespace/name, too")
	case !w.who.Empty() && w.role == "":
		return errors.New("one role for several: give it a name with --role")
	case w.role != "" && !rolePattern.MatchString(w.role):
		return fmt.Errorf("--role %q: want 1 to 64 letters, digits and _ + = , . @ -", w.role)
	}
	return w.who.CheckClusters()
}

func (w wanted) checkAccount() error {
	for _, cluster := range w.who.Clusters {
		if err := w.account.CheckIssuer(cluster); err != nil {
			return err
		}
	}
	checked := w.account
	if checked.Account == "" {
		checked.Account = "000000000000" // asked for later
	}
	return checked.Check()
}

// defaultRole is unique: namespaces have no dot.
func defaultRole(who trust.Selection) string {
	name := "kube."
	for _, namespace := range who.Namespaces {
		name += namespace
	}
	for _, account := range who.Accounts {
		name += account.Namespace + "." + account.Name
	}
	if len(name) <= 64 {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:47] + "-" + hex.EncodeToString(sum[:8])
}

// connect finds out whose credentials these are.
func (p *planner) connect(ctx context.Context, partitionGiven bool) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("AWS's settings: %w", err)
	}
	if settings.Region == "" {
		settings.Region = "us-east-1" // IAM has no regions; its client wants one all the same
	}
	caller, err := sts.NewFromConfig(settings).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("ask AWS whose credentials these are: %w", err)
	}
	if p.account.Account != "" && p.account.Account != *caller.Account {
		return fmt.Errorf("%w: the credentials are of %s, --account is %s", ErrAccount, *caller.Account, p.account.Account)
	}
	p.account.Account = *caller.Account
	if parts := strings.Split(*caller.Arn, ":"); !partitionGiven && len(parts) > 1 {
		p.account.Partition = parts[1]
	}
	p.iam = iam.NewFromConfig(settings)
	return nil
}
