package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/registration/iampolicy"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// The checks of doctor's that an account answers.
const (
	checkProvider   = "aws.provider"
	checkAudience   = "aws.audience"
	checkTrust      = "aws.trust"
	checkConditions = "aws.conditions"
)

// Checks are the IDs of what Examine finds.
func Checks() []string {
	return []string{checkProvider, checkAudience, checkTrust, checkConditions}
}

// A Registration is what an account knows of an issuer.
type Registration struct {
	Account   string   // "" for that of the credentials
	Partition string   // "" for that of the credentials
	Audience  string   // "" for the usual one
	Roles     []string // names or ARNs of those that are meant for the workload; none for all that name the issuer
}

// examiner reads for one issuer.
type examiner struct {
	*planner
	Registration
	registration.Wanted
	arn string
}

// Examine reads the identity provider and the roles' trust policies.
func (r Registration) Examine(ctx context.Context, w registration.Wanted) []registration.Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	x := &examiner{Registration: r, Wanted: w, planner: &planner{wanted: wanted{account: trust.AWS{Account: r.Account, Partition: r.Partition}}}}
	x.account.Audience = cmp.Or(r.Audience, trust.AWSAudience)
	if err := x.account.CheckIssuer(trust.Cluster{Issuer: w.Issuer}); err != nil {
		return []registration.Finding{registration.Break(checkProvider, "Change the issuer, or use AWS with another cluster.", "%v", err)}
	}
	if err := x.connect(ctx, r.Partition != ""); err != nil {
		return []registration.Finding{registration.Unseen(checkProvider, "Give doctor credentials of the account, as for `kube-iam-assume setup aws`.", "%v", err)}
	}
	x.arn = x.account.ProviderARN(trust.Cluster{Issuer: w.Issuer})
	findings, there := x.provider(ctx)
	if !there {
		return findings
	}
	return append(findings, x.roles(ctx)...)
}

// repair is the command that makes it so.
func (x *examiner) repair(does string) string {
	command := "`kube-iam-assume setup aws" + x.From()
	if x.account.Audience != trust.AWSAudience {
		command += " --audience " + x.account.Audience
	}
	return command + x.Wanted.Account() + "` " + does + "."
}

// unseen is for an answer that was none. Only what AWS denied is a right that is missing.
func unseen(check, right string, err error) registration.Finding {
	var answer smithy.APIError
	if errors.As(err, &answer) && slices.Contains([]string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}, answer.ErrorCode()) {
		return registration.Unseen(check, "Allow doctor's credentials "+right+".", "these credentials lack the right %s", right)
	}
	return registration.Unseen(check, "Try again when AWS answers.", "%s: %v", right, err)
}

// provider is the account's knowledge of the issuer itself.
func (x *examiner) provider(ctx context.Context) (findings []registration.Finding, there bool) {
	found, err := x.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &x.arn})
	switch {
	case absent(err):
		return []registration.Finding{registration.Break(checkProvider, x.repair("makes it"),
			"account %s has no identity provider for %s%s: tokens are refused with InvalidIdentityToken, \"No OpenIDConnect provider found\"",
			x.account.Account, x.Issuer, x.similar(ctx))}, false
	case err != nil:
		return []registration.Finding{unseen(checkProvider, "iam:GetOpenIDConnectProvider", err)}, true
	}
	audience := registration.Ok(checkAudience, "%s", strings.Join(found.ClientIDList, ", "))
	dangerous := slices.DeleteFunc(slices.Clone(found.ClientIDList), func(id string) bool {
		return id != x.Issuer && !strings.HasPrefix(id, "https://kubernetes.default")
	})
	switch {
	case !slices.Contains(found.ClientIDList, x.account.Audience):
		audience = registration.Break(checkAudience, x.repair("adds it"), "the identity provider does not take the audience %s, but %s: tokens are refused with \"Incorrect token audience\"",
			x.account.Audience, orNone(found.ClientIDList))
	case len(dangerous) > 0:
		audience = registration.Warn(checkAudience, "Remove it: aws iam remove-client-id-from-open-id-connect-provider.",
			"it takes the audience %s, which every pod's default token has unless --api-audiences says otherwise", dangerous[0])
	}
	return []registration.Finding{registration.Ok(checkProvider, "%s", x.arn), audience}, true
}

func orNone(all []string) string {
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// similar finds the provider that somebody meant for the issuer. Who may not list gets no such help.
func (x *examiner) similar(ctx context.Context) string {
	listed, err := x.iam.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return ""
	}
	for _, p := range listed.OpenIDConnectProviderList {
		if other := *p.Arn; strings.EqualFold(strings.TrimRight(other, "/"), strings.TrimRight(x.arn, "/")) {
			return fmt.Sprintf(", but %s, which differs in case or in a slash at the end", other)
		}
	}
	return ""
}

// readRole is a role with its trust policy.
type readRole struct {
	name    string
	session time.Duration
	policy  iampolicy.Policy
	err     error
}

func read(role types.Role) readRole {
	r := readRole{name: *role.RoleName, session: time.Hour}
	if role.MaxSessionDuration != nil {
		r.session = time.Duration(*role.MaxSessionDuration) * time.Second
	}
	if role.AssumeRolePolicyDocument == nil {
		r.err = fmt.Errorf("%w: none in IAM's answer", iampolicy.ErrPolicy)
		return r
	}
	r.policy, r.err = iampolicy.Parse(*role.AssumeRolePolicyDocument)
	return r
}

func (x *examiner) roles(ctx context.Context) []registration.Finding {
	if len(x.Roles) > 0 {
		return x.named(ctx)
	}
	var all []readRole
	pages := iam.NewListRolesPaginator(x.iam, &iam.ListRolesInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			f := unseen(checkTrust, "iam:ListRoles", err)
			f.Remedy = strings.TrimSuffix(f.Remedy, ".") + ", or name the roles with --aws-role."
			return []registration.Finding{f}
		}
		for _, role := range page.Roles {
			if r := read(role); r.err == nil && r.policy.Names(x.arn) {
				all = append(all, r)
			}
		}
	}
	if x.Subject == "" {
		return x.conditions(all)
	}
	return append([]registration.Finding{x.anyTrusts(all)}, x.conditions(all)...)
}

// named are the roles that the person named: each of them is to let the workload in.
func (x *examiner) named(ctx context.Context) []registration.Finding {
	var all []readRole
	var findings []registration.Finding
	for _, name := range x.Roles {
		name = name[strings.LastIndex(name, "/")+1:]
		found, err := x.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &name})
		switch {
		case absent(err):
			findings = append(findings, registration.Break(checkTrust, x.repair("with --role "+name+" makes it"), "account %s has no role %s", x.account.Account, name))
			continue
		case err != nil:
			findings = append(findings, unseen(checkTrust, "iam:GetRole", err))
			continue
		}
		role := read(*found.Role)
		if role.err != nil {
			findings = append(findings, registration.Break(checkTrust, "Write the role's trust policy again, as `kube-iam-assume trust aws` prints it.", "role %s: %v", name, role.err))
			continue
		}
		all = append(all, role)
		if x.Subject != "" {
			findings = append(findings, x.trusts(role))
		}
	}
	return append(findings, x.conditions(all)...)
}

func (x *examiner) decide(r readRole, subject, audience string) iampolicy.Decision {
	host := trust.Cluster{Issuer: x.Issuer}.Host()
	return r.policy.Decide(iampolicy.Token{Provider: x.arn, Host: host, Subject: subject, Audience: audience})
}

func (x *examiner) trusts(r readRole) registration.Finding {
	switch d := x.decide(r, x.Subject, x.account.Audience); d.Verdict {
	case iampolicy.Refused:
		return registration.Break(checkTrust, x.repair("with --role "+r.name+" repairs its trust policy"), "role %s does not let %s in: %s", r.name, x.Subject, d.Why)
	case iampolicy.Depends:
		return registration.Warn(checkTrust, "See that the condition holds where the workload runs.", "whether role %s lets %s in depends: %s", r.name, x.Subject, d.Why)
	default:
		return registration.Ok(checkTrust, "role %s, for sessions of at most %s", r.name, r.session)
	}
}

// anyTrusts is well if one role lets the workload in: the others are other workloads'.
func (x *examiner) anyTrusts(all []readRole) registration.Finding {
	best := registration.Break(checkTrust, x.repair("makes one"), "no role of account %s names the issuer", x.account.Account)
	if len(all) > 0 {
		best.Detail = fmt.Sprintf("none of the %d roles that name the issuer lets %s in", len(all), x.Subject)
	}
	var well []string
	for _, r := range all {
		switch f := x.trusts(r); {
		case f.Status == registration.Well:
			well = append(well, f.Detail)
		case f.Status == registration.Doubtful || best.Status == registration.Broken && len(all) == 1:
			best = f
		}
	}
	if len(well) > 0 {
		return registration.Ok(checkTrust, "%s", strings.Join(well, "; "))
	}
	return best
}

// conditions looks for roles that let in more than anybody means: probed with a subject that nobody has, and with an audience that is another's.
func (x *examiner) conditions(all []readRole) []registration.Finding {
	const nobody, elsewhere = "system:serviceaccount:no-such-namespace-8f2c:no-such-account-8f2c", "kube-iam-assume:doctor-probe"
	var findings []registration.Finding
	for _, r := range all {
		subject := x.Subject
		if d := x.decide(r, nobody, x.account.Audience); d.Verdict != iampolicy.Refused {
			findings = append(findings, registration.Break(checkConditions, "Name the subject in every statement, as `kube-iam-assume trust aws` prints it.",
				"role %s lets in every service account of the cluster: its trust policy does not hold the subject", r.name))
			continue
		}
		if subject == "" {
			continue // whom to try is not known
		}
		if d := x.decide(r, subject, elsewhere); d.Verdict != iampolicy.Refused {
			findings = append(findings, registration.Warn(checkConditions, "Name the audience in every statement, as `kube-iam-assume trust aws` prints it.",
				"role %s takes any audience that the identity provider takes: its trust policy does not hold the audience", r.name))
		}
	}
	if len(findings) == 0 {
		return []registration.Finding{registration.Ok(checkConditions, "%d roles name the issuer, and each its subjects", len(all))}
	}
	return findings
}
