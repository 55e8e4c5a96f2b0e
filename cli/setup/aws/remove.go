package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// remove takes the role away first, and an identity provider only when no role trusts it any more: whoever could register the issuer's URL
// anew, in whatever account, gains nothing from a role that is gone.
func (p *planner) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if p.role != "" {
		if err := p.removeRole(ctx); err != nil {
			return fmt.Errorf("role %s: %w", p.role, err)
		}
	}
	trusting, err := p.trusting(ctx)
	if err != nil {
		return err
	}
	for _, c := range p.who.Clusters {
		arn := p.account.ProviderARN(c)
		_, err := p.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		switch {
		case absent(err):
		case err != nil:
			return fmt.Errorf("identity provider of %s: %w", c.Issuer, err)
		case len(trusting[arn]) > 0:
			p.plan.Note("note: %s stays: it is trusted by %s.", arn, strings.Join(trusting[arn], ", "))
		default:
			p.plan.Add(plan.Delete, "identity provider "+arn, "no role trusts it", func(ctx context.Context) error {
				_, err := p.iam.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
				return err
			})
		}
	}
	p.plan.Note("note: credentials that were given out go on working until they expire, %s at most twelve hours from now.", "an hour unless somebody asked for more,")
	return nil
}

func (p *planner) removeRole(ctx context.Context) error {
	found, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &p.role})
	if absent(err) {
		return nil
	}
	if err != nil {
		return err
	}
	policy, ours, others, err := p.read(found.Role)
	switch {
	case err != nil:
		return err
	case len(ours) == 0:
		p.plan.Note("note: role %s does not trust these issuers, and stays.", p.role)
		return nil
	case len(others) > 0:
		policy["Statement"] = others
		text, err := json.Marshal(policy)
		if err != nil {
			return err
		}
		p.plan.Add(plan.Update, "trust policy of role "+p.role, fmt.Sprintf("no longer trusts %s\nthe role stays for %d statements of others", subjects(ours), len(others)), func(ctx context.Context) error {
			_, err := p.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &p.role, PolicyDocument: new(string(text))})
			return err
		})
		return nil
	}
	return p.deleteRole(ctx, ours)
}

// deleteRole takes a role's policies away with it, and only of a role that setup made.
func (p *planner) deleteRole(ctx context.Context, ours []any) error {
	made, err := p.iam.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: &p.role})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(made.Tags, func(t types.Tag) bool { return *t.Key == tagKey && *t.Value == tagValue }) {
		return fmt.Errorf("%w trusts nobody but these issuers, so the role would have to be deleted; but setup did not make it (it has no tag %s: %s): delete it yourself", ErrTrust, tagKey, tagValue)
	}
	inline, attached, err := p.policies(ctx)
	if err != nil {
		return err
	}
	for _, arn := range attached {
		p.plan.Add(plan.Update, "role "+p.role, "detach "+arn, func(ctx context.Context) error {
			_, err := p.iam.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &p.role, PolicyArn: &arn})
			return err
		})
	}
	for _, name := range inline {
		p.plan.Add(plan.Delete, "inline policy "+name+" of role "+p.role, "", func(ctx context.Context) error {
			_, err := p.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &p.role, PolicyName: &name})
			return err
		})
	}
	p.plan.Add(plan.Delete, "role "+p.role, "trusted "+subjects(ours), func(ctx context.Context) error {
		_, err := p.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &p.role})
		return err
	})
	return nil
}

func (p *planner) policies(ctx context.Context) (inline, attached []string, err error) {
	names := iam.NewListRolePoliciesPaginator(p.iam, &iam.ListRolePoliciesInput{RoleName: &p.role})
	for names.HasMorePages() {
		page, err := names.NextPage(ctx)
		if err != nil {
			return nil, nil, err
		}
		inline = append(inline, page.PolicyNames...)
	}
	managed := iam.NewListAttachedRolePoliciesPaginator(p.iam, &iam.ListAttachedRolePoliciesInput{RoleName: &p.role})
	for managed.HasMorePages() {
		page, err := managed.NextPage(ctx)
		if unknown(err) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		for _, policy := range page.AttachedPolicies {
			attached = append(attached, *policy.PolicyArn)
		}
	}
	return inline, attached, nil
}

// unknown is the answer of servers of IAM's API other than Amazon's that have no managed policies.
func unknown(err error) bool {
	var answer smithy.APIError
	return errors.As(err, &answer) && answer.ErrorCode() == "InvalidAction"
}

// trusting are the roles that trust each provider and will still do so after the plan, by the provider's ARN.
func (p *planner) trusting(ctx context.Context) (map[string][]string, error) {
	all := map[string][]string{}
	roles := iam.NewListRolesPaginator(p.iam, &iam.ListRolesInput{})
	for roles.HasMorePages() {
		page, err := roles.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("look for roles that trust the issuers: %w", err)
		}
		for _, role := range page.Roles {
			if *role.RoleName == p.role {
				continue
			}
			for _, c := range p.who.Clusters {
				arn := p.account.ProviderARN(c)
				if mentions(role, arn) {
					all[arn] = append(all[arn], "role "+*role.RoleName)
				}
			}
		}
	}
	return all, nil
}

// mentions reports whether a role's trust policy names a provider, or can't be read.
func mentions(role types.Role, arn string) bool {
	one := planner{wanted: wanted{who: trust.Selection{}}}
	policy, _, statements, err := one.read(&role)
	if err != nil || policy == nil {
		return true
	}
	return slices.ContainsFunc(statements, func(each any) bool {
		s, _ := each.(statement)
		principals, _ := s["Principal"].(map[string]any)
		return slices.Contains(list(principals["Federated"]), any(arn))
	})
}
