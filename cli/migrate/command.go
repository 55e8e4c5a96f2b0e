package migrate

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/agent"
	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate/inventory"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

const (
	awsTimeout = 2 * time.Minute
	maxRoles   = 64 << 20 // bytes of a list of roles: 5,000 of them, IAM's most, are under 20 MB
)

// Command is `kube-iam-assume migrate`.
func Command() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate",
		Short: "Plan the way from kube2iam, kiam or kube-aws-iam-controller",
		Args:  command.Exactly(0, "one of the commands below"),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	plan := &cobra.Command{
		Use:   "plan",
		Short: "Print service accounts, trust policies, patches, the way back and the last step, for a whole cluster",
		Long: `plan reads a cluster, or files that kubectl get wrote, and prints every step from the agent that it has to tokens of its own service accounts. It changes
nothing. What a person has to decide is listed first, and makes the exit code 1; everything else is planned all the same.`,
		Args: command.Exactly(0, "one of the commands below"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	plan.AddCommand(planCommand(agent.Kube2IAM), planCommand(agent.Kiam), planCommand(agent.Controller))
	c.AddCommand(plan)
	return c
}

// flags are what a person says.
type flags struct {
	Options
	files               []string
	kubeconfig, context string
	clusters            trust.Flags
	account, partition  string
	rolesFile           string
	aws                 bool
	write               string
	agentNamespace      string
	output              command.Output
	given               agent.Settings // by flags
	restrict, loose     bool
}

func planCommand(name string) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   name,
		Short: "Plan the way from " + name,
		Long:  "Plan the way from " + name + " to tokens of service accounts.\n\n" + long[name],
		Example: fmt.Sprintf(`  kube-iam-assume migrate plan %[1]s --aws --write plan
  aws iam list-roles --output json > roles.json
  kubectl get all,namespaces,serviceaccounts,rolebindings,clusterrolebindings%[2]s -A -o json > cluster.json
  kube-iam-assume migrate plan %[1]s -f cluster.json --roles roles.json --issuer https://oidc.example.com/prod --account 111122223333`, name, also[name]),
		Args: command.Exactly(0, "no arguments; files are -f"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, name) },
	}
	f.add(c, name)
	return c
}

var also = map[string]string{agent.Controller: ",awsiamroles"}

var long = map[string]string{
	agent.Kube2IAM: `Its settings are read from its own DaemonSet, if that is there: base ARN, default role, annotations, restriction of namespaces. Flags go before them.`,
	agent.Kiam: `Its settings are read from its own server, if that is there: base ARN, form of the namespaces' expressions. Flags go before them. A namespace without the
annotation allows nothing, as kiam has it.`,
	agent.Controller: `Workloads are found by the Secrets that they mount: those named after an AWSIAMRole, and those named aws-iam-ROLE. What is in a Secret is never read.`,
}

func (f *flags) add(c *cobra.Command, name string) {
	s := c.Flags()
	s.StringArrayVarP(&f.files, "filename", "f", nil, "`file` that kubectl get -o json or -o yaml wrote, or - for standard input, instead of a cluster; as often as needed")
	s.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig `file`; default: KUBECONFIG or ~/.kube/config")
	s.StringVar(&f.context, "context", "", "`name` of the kubeconfig's context")
	f.clusters.AddClusters(c)
	s.StringVar(&f.agentNamespace, "agent-namespace", "", "`name` of the namespace in which the agent runs; default: wherever something runs by its name")
	s.StringVar(&f.account, "account", "", "`ID` of the AWS account of roles that are named without their ARN")
	s.StringVar(&f.partition, "partition", "aws", "`name` of the partition: aws, aws-cn or aws-us-gov")
	s.StringVar(&f.given.BaseARN, "base-role-arn", "", "`ARN` that the agent puts before a role's name, arn:aws:iam::ACCOUNT:role/PATH; default: its own setting, else by --account")
	s.StringVar(&f.rolesFile, "roles", "", "`file` that aws iam list-roles --output json wrote: which roles exist, and whom they trust")
	s.BoolVar(&f.aws, "aws", false, "ask AWS for the roles, with the credentials of its SDK; only reads")
	s.StringArrayVar(&f.NodeRoles, "node-role", nil, "`ARN` of the role by which the agent takes others; as often as needed")
	s.StringVar(&f.Audience, "audience", trust.AWSAudience, "`audience` of the tokens")
	s.IntVar(&f.Characters, "max-characters", trust.AWSCharacters, "`number` of characters that IAM's quota L-C07B4B0D allows a trust policy")
	s.IntVar(&f.Expiration, "expiration", 3600, "`seconds` that a token lives")
	s.BoolVar(&f.SplitAccounts, "split-accounts", false, "accept the accounts that are proposed where workloads share one and not a role")
	s.StringVar(&f.write, "write", "", "write the plan's files into this `folder`, which must be new or empty")
	f.output.Flag(c)
	switch name {
	case agent.Kube2IAM:
		s.StringVar(&f.given.DefaultRole, "default-role", "", "`role` of pods that ask for none")
		s.BoolVar(&f.DefaultUnused, "default-unused", false, "no pod needs the default role")
		s.BoolVar(&f.restrict, "namespace-restrictions", false, "namespaces have to allow roles")
		s.StringVar(&f.given.Format, "namespace-restriction-format", "", "`form` of what they allow: glob or regexp")
	case agent.Kiam:
		s.BoolVar(&f.given.OnNames, "before-v4", false, "the expressions are held against roles as they are written, and not against their ARNs, as kiam did before version 4; default: by its image")
		s.BoolVar(&f.loose, "disable-strict-namespace-regexp", false, "an expression of a namespace may match a part of the ARN")
	}
}

func (f *flags) run(c *cobra.Command, name string) error {
	if err := f.check(); err != nil {
		return command.Usage(c, err)
	}
	found, issuer, err := f.inventory(c, name)
	if err != nil {
		return err
	}
	f.Settings, f.Agents = agent.Detect(found, name, f.agentNamespace)
	f.settle(c)
	f.RulesKnown = c.Flags().Changed("namespace-restrictions") || len(f.Agents) > 0
	if f.Cluster, err = f.cluster(issuer); err != nil {
		return trust.Told(c, err)
	}
	if f.Settings.Format != "" && !slices.Contains([]string{"glob", "regexp", "anchored"}, f.Settings.Format) {
		return command.Usage(c, fmt.Errorf("--namespace-restriction-format %q: want glob or regexp", f.Settings.Format))
	}
	if f.Options.Roles, err = f.roles(c); err != nil {
		return err
	}
	p := Make(found, f.Options)
	if f.write != "" {
		if err := p.Write(f.write); err != nil {
			return err
		}
	}
	if err := f.output.Print(c.OutOrStdout(), p, p.Text); err != nil {
		return err
	}
	if len(p.Decisions) > 0 {
		return fmt.Errorf("%w: %d, listed first in it", ErrDecisions, len(p.Decisions))
	}
	return nil
}

func (f *flags) check() error {
	account := f.account
	if account == "" {
		account = "000000000000" // each role's ARN has its own
	}
	switch {
	case f.rolesFile != "" && f.aws:
		return errors.New("--roles and --aws both say which roles there are: want one")
	case len(f.files) > 0 && (f.kubeconfig != "" || f.context != ""):
		return errors.New("-f and --kubeconfig both say what to read: want one")
	case f.given.BaseARN != "" && !strings.HasPrefix(f.given.BaseARN, "arn:"):
		return fmt.Errorf("--base-role-arn %q: want arn:aws:iam::ACCOUNT:role/", f.given.BaseARN)
	case f.Expiration < 600 || f.Expiration > 86400:
		return fmt.Errorf("--expiration %d: want 600 to 86400 seconds", f.Expiration)
	}
	return trust.AWS{Partition: f.partition, Account: account, Audience: f.Audience, Characters: f.Characters}.Check()
}

// settle puts what flags say over what the agent's own arguments say.
func (f *flags) settle(c *cobra.Command) {
	s, given := &f.Settings, c.Flags().Changed
	switch {
	case f.given.BaseARN != "":
		s.BaseARN = f.given.BaseARN
	case s.BaseARN == "" && f.account != "":
		s.BaseARN = fmt.Sprintf("arn:%s:iam::%s:role/", f.partition, f.account)
	}
	if f.given.DefaultRole != "" {
		s.DefaultRole = f.given.DefaultRole
	}
	if given("namespace-restrictions") {
		s.Restricted = f.restrict
	}
	if f.given.Format != "" {
		s.Format = f.given.Format
	}
	if given("before-v4") {
		s.OnNames = f.given.OnNames
	}
	if given("disable-strict-namespace-regexp") {
		s.Format = map[bool]string{true: "regexp", false: "anchored"}[f.loose]
	}
	if s.AssumeRole != "" && len(f.NodeRoles) == 0 && strings.HasPrefix(s.AssumeRole, "arn:") {
		f.NodeRoles = []string{s.AssumeRole}
	}
}

// inventory reads the files, or the cluster with its issuer.
func (f *flags) inventory(c *cobra.Command, name string) (*inventory.Cluster, string, error) {
	found, issuer := inventory.New(), ""
	for _, file := range f.files {
		data, err := command.Read(file, c.InOrStdin(), inventory.MaxBytes)
		if err != nil {
			return nil, "", err
		}
		if err := found.AddFile(file, data); err != nil {
			return nil, "", err
		}
	}
	if len(f.files) == 0 {
		settings, err := apiserver.Load(f.kubeconfig, f.context)
		if errors.Is(err, apiserver.ErrNoKubeconfig) {
			return nil, "", command.Usage(c, fmt.Errorf("%w, or files with -f", err))
		} else if err != nil {
			return nil, "", err
		}
		client, err := kubernetes.NewForConfig(settings)
		if err != nil {
			return nil, "", err
		}
		if err := found.AddCluster(c.Context(), client, name == agent.Controller); err != nil {
			return nil, "", err
		}
		issuer = inventory.Issuer(c.Context(), client)
	}
	found.Finish()
	return found, issuer, nil
}

// cluster is the one that flags name, or the one that was read.
func (f *flags) cluster(issuer string) (trust.Cluster, error) {
	named, err := f.clusters.Clusters()
	switch {
	case err != nil:
		return trust.Cluster{}, err
	case len(named) > 1:
		return trust.Cluster{}, fmt.Errorf("%w call: %d clusters: a plan is for the one that is read", trust.ErrInput, len(named))
	case len(named) == 0 && issuer == "":
		return trust.Cluster{}, fmt.Errorf("%w call: the issuer of the cluster's tokens is not known: want --issuer", trust.ErrInput)
	case len(named) == 0:
		named = make([]trust.Cluster, 1)
		if named[0], err = trust.ParseCluster(issuer); err != nil {
			return trust.Cluster{}, fmt.Errorf("the cluster's own: %w; say the one it will have with --issuer", err)
		}
	}
	account := trust.AWS{Partition: f.partition, Audience: f.Audience}
	return named[0], account.CheckIssuer(named[0])
}

func (f *flags) roles(c *cobra.Command) (agent.Roles, error) {
	switch {
	case f.aws:
		return askAWS(c.Context())
	case f.rolesFile == "":
		return nil, nil
	}
	data, err := command.Read(f.rolesFile, c.InOrStdin(), maxRoles)
	if err != nil {
		return nil, err
	}
	if len(data) > maxRoles {
		return nil, fmt.Errorf("%s: %w: more than %d bytes", f.rolesFile, agent.ErrRoles, maxRoles)
	}
	roles, err := agent.ParseRoles(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.rolesFile, err)
	}
	return roles, nil
}

// askAWS lists the roles of the credentials' account.
func askAWS(ctx context.Context) (agent.Roles, error) {
	ctx, cancel := context.WithTimeout(ctx, awsTimeout)
	defer cancel()
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS's settings: %w", err)
	}
	if settings.Region == "" {
		settings.Region = "us-east-1" // IAM has no regions; its client wants one all the same
	}
	return listRoles(ctx, iam.NewFromConfig(settings))
}

func listRoles(ctx context.Context, client iam.ListRolesAPIClient) (agent.Roles, error) {
	roles := agent.Roles{}
	for pages := iam.NewListRolesPaginator(client, &iam.ListRolesInput{}); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("list the roles (iam:ListRoles): %w", err)
		}
		for _, r := range page.Roles {
			role := agent.Role{ARN: *r.Arn}
			if r.AssumeRolePolicyDocument != nil {
				document, err := url.PathUnescape(*r.AssumeRolePolicyDocument)
				if err != nil {
					return nil, fmt.Errorf("the trust policy of %s: %w", role.ARN, err)
				}
				role.Trust = []byte(document)
			}
			roles[role.ARN] = role
		}
	}
	return roles, nil
}
