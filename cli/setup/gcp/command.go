package gcp

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/api/iam/v1"
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

--remove takes service accounts out again, and the provider with the last of them. The pool stays.`,
		Example: `  kube-iam-assume setup gcp --pool projects/123456789012/locations/global/workloadIdentityPools/kubernetes \
    --issuer https://oidc.example.com/prod-eu1 --service-account production/payments --impersonate payments@example-project.iam.gserviceaccount.com --dry-run`,
		Args: command.Exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c, client) },
	}
	f.who.Add(c)
	f.settings.Add(c)
	c.Flags().StringVar(&f.impersonate, "impersonate", "", "`address` of a Google service account that the service accounts may act as")
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
		if f.options.Print == plan.Terraform {
			return command.Usage(c, errors.New("--print terraform: deploy/terraform/gcp/trust is the same as a module; want --print cli"))
		}
		return f.print(c.OutOrStdout(), report)
	}
	if len(client) == 0 {
		client = []option.ClientOption{option.WithScopes(iam.CloudPlatformScope)}
	}
	service, err := iam.NewService(c.Context(), client...)
	if err != nil {
		return fmt.Errorf("no login for Google: %w: gcloud auth application-default login", err)
	}
	p := &planner{settings: f.settings, who: who, impersonate: f.impersonate, service: service, plan: &plan.Plan{}}
	find := p.set
	if f.options.Remove {
		find = p.remove
	}
	if err := find(c.Context()); err != nil {
		return trust.Told(c, err)
	}
	return f.options.Carry(c, p.plan)
}

// print writes for a POSIX shell. Mappings have single quotes and commas in them, which gcloud and the shell each want said.
func (f *flags) print(out io.Writer, r trust.GCPReport) error {
	parts := strings.Split(f.settings.Pool, "/")
	project, pool := parts[1], parts[5]
	var b strings.Builder
	fmt.Fprintf(&b, "gcloud iam workload-identity-pools create %s --project=%s --location=global\n", pool, project)
	for _, p := range r.Providers {
		var mapping []string
		for _, name := range slices.Sorted(maps.Keys(p.Mapping)) {
			mapping = append(mapping, name+"="+p.Mapping[name])
		}
		fmt.Fprintf(&b, "gcloud iam workload-identity-pools providers create-oidc %s --project=%s --location=global --workload-identity-pool=%s \\\n  --issuer-uri=%s \\\n  --attribute-mapping=%s \\\n  --attribute-condition=%s\n",
			p.ID, project, pool, p.Issuer, quote("^|^"+strings.Join(mapping, "|")), quote(p.Condition))
	}
	for _, p := range r.Principals {
		if f.impersonate != "" {
			fmt.Fprintf(&b, "gcloud iam service-accounts add-iam-policy-binding %s --role=%s \\\n  --member=%s\n", f.impersonate, workerRole, quote(p.Principal))
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func quote(text string) string { return `"` + text + `"` } // nothing here has a double quote, a dollar, a backslash or a backtick
