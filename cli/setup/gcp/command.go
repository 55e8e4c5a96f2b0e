package gcp

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

var addressPattern = regexp.MustCompile(`^[a-z0-9-]+@[a-z0-9.:-]+\.gserviceaccount\.com$`)

type flags struct {
	who         trust.Flags
	settings    trust.GCP
	options     plan.Options
	impersonate string
	undelete    bool
}

// Command is `kube-iam-assume setup gcp`. The client's options are for who reaches Google elsewhere.
func Command(client ...option.ClientOption) *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:   "gcp",
		Short: "Make a Workload Identity pool and providers for clusters' issuers in Google Cloud, and let service accounts in",
		Long: `gcp makes the pool, if it is not there, and a provider for each issuer, with the mapping down to the pod and a condition that lets in the service accounts
you name, and those that it let in before. --impersonate binds them to one of Google's service accounts; other grants name the principals that are printed.
It shows what differs and asks. Credentials are Google's application default credentials.

A pool or provider that somebody deleted keeps its ID for 30 days. It is brought back only if you say --undelete: with a pool come its other providers and the access
tokens of before; a provider comes back for the service accounts that you name, and not for those of before.

--remove takes service accounts out again, and the provider with the last of them. The pool stays.`,
		Example: `  kube-iam-assume setup gcp --pool projects/123456789012/locations/global/workloadIdentityPools/kubernetes \
    --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --impersonate payments@example-project.iam.gserviceaccount.com --dry-run`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, client) },
	}
	f.who.Add(c)
	f.settings.Add(c)
	c.Flags().StringVar(&f.impersonate, "impersonate", "", "`address` of a Google service account that the service accounts may act as")
	c.Flags().BoolVar(&f.undelete, "undelete", false, "bring back a pool or provider that was deleted less than 30 days ago, whose ID nothing else can have until then")
	f.options.Flags(c, "gcloud")
	_ = c.MarkFlagRequired("pool") // it exists
	return c
}

func (f *flags) run(c *cobra.Command, client []option.ClientOption) error {
	if err := f.options.Check(c); err != nil {
		return err
	}
	if f.impersonate != "" && !addressPattern.MatchString(f.impersonate) {
		return command.Usage(c, fmt.Errorf("--impersonate %q: want NAME@PROJECT.iam.gserviceaccount.com", f.impersonate))
	}
	who, err := f.who.Selection()
	if err != nil {
		return trust.Told(c, err)
	}
	report, err := f.settings.Report(who)
	if err != nil {
		return trust.Told(c, err)
	}
	if f.options.Print != "" {
		return f.print(c.OutOrStdout(), report)
	}
	service, err := connect(c.Context(), client)
	if err != nil {
		return fmt.Errorf("no login for Google: %w: gcloud auth application-default login", err)
	}
	p := &planner{settings: f.settings, who: who, impersonate: f.impersonate, undelete: f.undelete, service: service, plan: &plan.Plan{}}
	find := p.set
	if f.options.Remove {
		find = p.remove
	}
	if err := find(c.Context()); err != nil {
		return trust.Told(c, err)
	}
	return f.options.Carry(c, p.plan)
}
