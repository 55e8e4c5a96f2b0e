// Package gcp is `setup gcp`: it makes a Workload Identity pool and a provider for each cluster's issuer, lets service accounts in, and binds them to one of
// Google's own. Who is let in already stays: a provider has one condition for everybody, so what is asked for is added to it.
package gcp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

var (
	// ErrProvider means that a provider is there and is not what this package can change without doing harm.
	ErrProvider = errors.New("the provider")
	// ErrPool means the same of a pool.
	ErrPool = errors.New("the pool")
	// ErrDenied means that the login may not do it.
	ErrDenied = errors.New("the login may not do that")
)

const (
	callTimeout = time.Minute
	workerRole  = "roles/iam.workloadIdentityUser"
	deleted     = "DELETED"

	poolName        = "Kubernetes"
	poolDescription = "workloads of self-hosted Kubernetes clusters"

	policyVersion = 3 // the one with conditions; a write with an older one loses them
)

// planner finds out what differs.
type planner struct {
	settings    trust.GCP
	who         trust.Selection
	impersonate string // address of Google's service account; "" for none
	undelete    bool   // bring back what was deleted
	service     *iam.Service
	plan        *plan.Plan
}

func (p *planner) set(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	there, err := p.setPool(ctx)
	if err != nil {
		return fmt.Errorf("pool %s: %w", p.settings.Pool, explained(err))
	}
	var principals []string
	for _, c := range p.who.Clusters {
		asked := trust.Selection{Accounts: p.who.Accounts, Namespaces: p.who.Namespaces, Clusters: []trust.Cluster{c}}
		mine, err := p.setProvider(ctx, asked, there)
		if err != nil {
			return fmt.Errorf("provider of %s: %w", c.Issuer, explained(err))
		}
		principals = append(principals, mine...)
	}
	if p.impersonate == "" {
		for _, principal := range principals {
			p.plan.Note("note: grants name %s", principal)
		}
		return nil
	}
	return p.bind(ctx, principals, true)
}

func (p *planner) setPool(ctx context.Context) (there bool, err error) {
	pool, err := p.service.Projects.Locations.WorkloadIdentityPools.Get(p.settings.Pool).Context(ctx).Do()
	switch {
	case err == nil && pool.State == deleted && !p.undelete:
		return false, fmt.Errorf("%w was deleted, and keeps its ID for 30 days: say --undelete, or choose another --pool", ErrPool)
	case err == nil && pool.State == deleted:
		p.plan.Add(plan.Undelete, "pool "+p.settings.Pool, "with its other providers, and the access tokens of before", func(ctx context.Context) error {
			o, err := p.service.Projects.Locations.WorkloadIdentityPools.Undelete(p.settings.Pool, &iam.UndeleteWorkloadIdentityPoolRequest{}).Context(ctx).Do()
			return p.wait(ctx, o, err, false)
		})
		return true, nil
	case err == nil:
		if pool.Disabled {
			p.plan.Note("warning: the pool is disabled: nobody gets in.")
		}
		return true, nil
	case !absent(err):
		return false, err
	}
	at := strings.LastIndex(p.settings.Pool, "/workloadIdentityPools/")
	parent, id := p.settings.Pool[:at], p.settings.Pool[at+len("/workloadIdentityPools/"):]
	p.plan.Add(plan.Create, "pool "+p.settings.Pool, "", func(ctx context.Context) error {
		o, err := p.service.Projects.Locations.WorkloadIdentityPools.Create(parent, &iam.WorkloadIdentityPool{
			DisplayName: poolName, Description: poolDescription,
		}).WorkloadIdentityPoolId(id).Context(ctx).Do()
		return p.wait(ctx, o, err, false)
	})
	return false, nil
}

// setProvider returns the principals of the workloads that were asked for.
func (p *planner) setProvider(ctx context.Context, asked trust.Selection, poolThere bool) ([]string, error) {
	report, err := p.settings.Report(asked)
	if err != nil {
		return nil, err
	}
	var principals []string
	for _, principal := range report.Principals {
		principals = append(principals, principal.Principal)
	}
	want := report.Providers[0]
	var found *iam.WorkloadIdentityPoolProvider
	if poolThere {
		found, err = p.service.Projects.Locations.WorkloadIdentityPools.Providers.Get(want.Name).Context(ctx).Do()
		if err != nil && !absent(err) {
			return nil, err
		}
	}
	if found == nil || absent(err) {
		p.note(report)
		p.plan.Add(plan.Create, "provider "+want.Name, "condition "+want.Condition, func(ctx context.Context) error {
			o, err := p.service.Projects.Locations.WorkloadIdentityPools.Providers.Create(p.settings.Pool, provider(want)).
				WorkloadIdentityPoolProviderId(want.ID).Context(ctx).Do()
			return p.wait(ctx, o, err, true)
		})
		return principals, nil
	}
	all, err := p.everybody(found, asked)
	if err != nil {
		return nil, err
	}
	p.note(all)
	p.change(found, all.Providers[0])
	return principals, nil
}

// everybody is whom a provider is to let in: who is asked for, and whom it lets in already. One that was deleted lets in nobody, and comes back for no more
// than who is asked for.
func (p *planner) everybody(found *iam.WorkloadIdentityPoolProvider, asked trust.Selection) (trust.GCPReport, error) {
	was := found.State == deleted
	if was && !p.undelete {
		return trust.GCPReport{}, fmt.Errorf("%w was deleted, and keeps its ID for 30 days: say --undelete, or choose another --pool", ErrProvider)
	}
	admitted, err := p.admitted(found, asked.Clusters[0])
	if err != nil {
		return trust.GCPReport{}, err
	}
	if was {
		admitted = trust.Selection{Clusters: asked.Clusters}
		p.plan.Add(plan.Undelete, "provider "+found.Name, "", func(ctx context.Context) error {
			o, err := p.service.Projects.Locations.WorkloadIdentityPools.Providers.Undelete(found.Name, &iam.UndeleteWorkloadIdentityPoolProviderRequest{}).Context(ctx).Do()
			return p.wait(ctx, o, err, true)
		})
	}
	return p.settings.Report(union(admitted, asked))
}

func (p *planner) note(r trust.GCPReport) {
	for _, note := range r.Notes {
		p.plan.Note("%s", note)
	}
}

func provider(want trust.GCPProvider) *iam.WorkloadIdentityPoolProvider {
	return &iam.WorkloadIdentityPoolProvider{
		DisplayName: want.Cluster[:min(len(want.Cluster), 32)], Description: "cluster " + want.Cluster,
		AttributeMapping: want.Mapping, AttributeCondition: want.Condition, Oidc: &iam.Oidc{IssuerUri: want.Issuer},
	}
}

// change brings mapping and condition up to date, and nothing else: keys that a publisher uploads are its own.
func (p *planner) change(found *iam.WorkloadIdentityPoolProvider, want trust.GCPProvider) {
	var fields, details []string
	if !maps.Equal(found.AttributeMapping, want.Mapping) {
		fields = append(fields, "attributeMapping")
		for _, name := range slices.Sorted(maps.Keys(want.Mapping)) {
			if is := found.AttributeMapping[name]; is != want.Mapping[name] {
				details = append(details, fmt.Sprintf("%s %s, instead of %q", name, want.Mapping[name], is))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(found.AttributeMapping)) {
			if want.Mapping[name] == "" {
				details = append(details, "without "+name+" "+found.AttributeMapping[name])
			}
		}
	}
	if found.AttributeCondition != want.Condition {
		fields = append(fields, "attributeCondition")
		details = append(details, "condition "+want.Condition, "instead of "+found.AttributeCondition)
	}
	if len(fields) == 0 {
		return
	}
	p.plan.Add(plan.Update, "provider "+want.Name, strings.Join(details, "\n"), func(ctx context.Context) error {
		o, err := p.service.Projects.Locations.WorkloadIdentityPools.Providers.Patch(want.Name, &iam.WorkloadIdentityPoolProvider{
			AttributeMapping: want.Mapping, AttributeCondition: want.Condition,
		}).UpdateMask(strings.Join(fields, ",")).Context(ctx).Do()
		return p.wait(ctx, o, err, true)
	})
}

// admitted are those whom a provider lets in. It is ErrProvider if it is somebody else's, or its condition is not one that setup wrote.
func (p *planner) admitted(found *iam.WorkloadIdentityPoolProvider, c trust.Cluster) (trust.Selection, error) {
	switch {
	case found.Oidc == nil || found.Oidc.IssuerUri != c.Issuer:
		return trust.Selection{}, fmt.Errorf("%w %s is there with another issuer: name the cluster otherwise, --issuer ID=URL", ErrProvider, found.Name)
	case len(found.Oidc.AllowedAudiences) > 0:
		p.plan.Note("warning: provider %s takes the audiences %s instead of its own name.", found.Name, strings.Join(found.Oidc.AllowedAudiences, ", "))
	}
	if found.Disabled {
		p.plan.Note("warning: provider %s is disabled: nobody gets in.", found.Name)
	}
	if found.AttributeCondition == "" { // everybody, which is what nobody means
		return trust.Selection{Clusters: []trust.Cluster{c}}, nil
	}
	s, ok := parse(found.AttributeCondition, c)
	if !ok {
		return s, fmt.Errorf("%w %s has the condition %s, which setup did not write: change it yourself, as `trust gcp` prints it", ErrProvider, found.Name, found.AttributeCondition)
	}
	return s, nil
}

var (
	subjectsIn   = regexp.MustCompile(`assertion\.sub in \['([^\]]*)'\]`)
	namespacesIn = regexp.MustCompile(`\['namespace'\] in \['([^\]]*)'\]`)
)

// parse reads a condition that was written by package trust, in either of its forms, and no other.
func parse(condition string, c trust.Cluster) (trust.Selection, bool) {
	s := trust.Selection{Clusters: []trust.Cluster{c}}
	if m := subjectsIn.FindStringSubmatch(condition); m != nil {
		for subject := range strings.SplitSeq(m[1], "', '") {
			account, err := trust.ParseServiceAccount(strings.Replace(strings.TrimPrefix(subject, "system:serviceaccount:"), ":", "/", 1))
			if err != nil {
				return s, false
			}
			s.Accounts = append(s.Accounts, account)
		}
	}
	if m := namespacesIn.FindStringSubmatch(condition); m != nil {
		s.Namespaces = strings.Split(m[1], "', '")
	}
	for _, unbound := range []bool{false, true} {
		r, err := trust.GCP{Pool: "projects/1/locations/global/workloadIdentityPools/pool", AdmitUnbound: unbound}.Report(s)
		if err == nil && r.Providers[0].Condition == condition {
			return s, true
		}
	}
	return s, false
}

// union is everybody of both. Who is in a namespace that is let in as a whole need not be named.
func union(a, b trust.Selection) trust.Selection {
	all := trust.Selection{Clusters: a.Clusters, Namespaces: slices.Clone(a.Namespaces)}
	for _, n := range b.Namespaces {
		if !slices.Contains(all.Namespaces, n) {
			all.Namespaces = append(all.Namespaces, n)
		}
	}
	for _, account := range slices.Concat(a.Accounts, b.Accounts) {
		if !slices.Contains(all.Accounts, account) && !slices.Contains(all.Namespaces, account.Namespace) {
			all.Accounts = append(all.Accounts, account)
		}
	}
	return all
}

func absent(err error) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer) && answer.Code == http.StatusNotFound
}

// explained says what a refusal means and what would mend it.
func explained(err error) error {
	var answer *googleapi.Error
	if errors.As(err, &answer) && answer.Code == http.StatusForbidden {
		return fmt.Errorf("%w: %s: it needs the role roles/iam.workloadIdentityPoolAdmin on the project, and for --impersonate roles/iam.serviceAccountAdmin on the service account; "+
			"and the API iam.googleapis.com must be on", ErrDenied, answer.Message)
	}
	return err
}
