package gcp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// errOperation means that what was begun did not come to a good end.
var errOperation = errors.New("the operation failed")

// wait asks after an operation until it is over, less and less often. Of a provider it is asked elsewhere than of a pool.
func (p *planner) wait(ctx context.Context, o *iam.Operation, err error, ofProvider bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	pools := p.service.Projects.Locations.WorkloadIdentityPools
	for pause := 200 * time.Millisecond; err == nil && !o.Done; pause = min(2*pause, 5*time.Second) {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s is still running: %w", o.Name, ctx.Err())
		case <-timer.C:
		}
		if ofProvider {
			o, err = pools.Providers.Operations.Get(o.Name).Context(ctx).Do()
		} else {
			o, err = pools.Operations.Get(o.Name).Context(ctx).Do()
		}
	}
	if err == nil && o.Error != nil {
		err = fmt.Errorf("%w: %s (code %d)", errOperation, o.Error.Message, o.Error.Code)
	}
	return explained(err)
}

// bind lets principals act as one of Google's service accounts, or no longer. The write carries the version of the read, so that it loses nothing.
func (p *planner) bind(ctx context.Context, principals []string, bound bool) error {
	name := "projects/-/serviceAccounts/" + p.impersonate
	accounts := p.service.Projects.ServiceAccounts
	policy, err := accounts.GetIamPolicy(name).OptionsRequestedPolicyVersion(policyVersion).Context(ctx).Do()
	if err != nil {
		return fmt.Errorf("service account %s: %w", p.impersonate, explained(err))
	}
	i := slices.IndexFunc(policy.Bindings, func(b *iam.Binding) bool { return b.Role == workerRole && b.Condition == nil })
	var members []string
	if i >= 0 {
		members = policy.Bindings[i].Members
	}
	var different []string
	for _, principal := range principals {
		if slices.Contains(members, principal) != bound {
			different = append(different, principal)
		}
	}
	if len(different) == 0 {
		return nil
	}
	if bound {
		members = append(slices.Clone(members), different...)
	} else {
		members = slices.DeleteFunc(slices.Clone(members), func(m string) bool { return slices.Contains(different, m) })
	}
	switch {
	case i < 0:
		policy.Bindings = append(policy.Bindings, &iam.Binding{Role: workerRole, Members: members})
	case len(members) == 0:
		policy.Bindings = slices.Delete(policy.Bindings, i, i+1)
	default:
		policy.Bindings[i].Members = members
	}
	policy.Version = policyVersion
	says := "may be acted as by "
	if !bound {
		says = "may no longer be acted as by "
	}
	p.plan.Add(plan.Update, "policy of service account "+p.impersonate, says+strings.Join(different, "\n"+says), func(ctx context.Context) error {
		_, err := accounts.SetIamPolicy(name, &iam.SetIamPolicyRequest{Policy: policy}).Context(ctx).Do()
		return explained(err)
	})
	return nil
}

// remove takes bindings away first, then who is let in, and the provider with the last of them. The pool stays: its ID could not be had again for 30 days.
func (p *planner) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	report, err := p.settings.Report(p.who)
	if err != nil {
		return err
	}
	if p.impersonate != "" {
		var principals []string
		for _, principal := range report.Principals {
			principals = append(principals, principal.Principal)
		}
		if err := p.bind(ctx, principals, false); err != nil {
			return err
		}
	}
	for i, c := range p.who.Clusters {
		if err := p.removeFrom(ctx, report.Providers[i].Name, c); err != nil {
			return fmt.Errorf("provider of %s: %w", c.Issuer, explained(err))
		}
	}
	p.plan.Note("note: the pool stays, since its ID could not be had again for 30 days; so do grants that name its principals. Access tokens that were given out work for up to an hour.")
	return nil
}

func (p *planner) removeFrom(ctx context.Context, name string, c trust.Cluster) error {
	providers := p.service.Projects.Locations.WorkloadIdentityPools.Providers
	found, err := providers.Get(name).Context(ctx).Do()
	if absent(err) || err == nil && found.State == deleted {
		return nil
	}
	if err != nil {
		return err
	}
	left, err := p.admitted(found, c)
	if err != nil {
		return err
	}
	left.Accounts = slices.DeleteFunc(left.Accounts, func(a trust.ServiceAccount) bool { return slices.Contains(p.who.Accounts, a) })
	left.Namespaces = slices.DeleteFunc(left.Namespaces, func(n string) bool { return slices.Contains(p.who.Namespaces, n) })
	if left.Empty() {
		p.plan.Add(plan.Delete, "provider "+name, "it would let nobody in any more", func(ctx context.Context) error {
			o, err := providers.Delete(name).Context(ctx).Do()
			return p.wait(ctx, o, err, true)
		})
		return nil
	}
	report, err := p.settings.Report(left)
	if err != nil {
		return err
	}
	p.change(found, report.Providers[0])
	return nil
}
