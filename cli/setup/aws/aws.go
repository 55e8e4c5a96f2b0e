// Package aws is `setup aws`: it registers clusters' issuers as identity providers of an AWS account, and makes the role that their service accounts
// assume. What is there already is adopted: statements of a role's trust policy that have nothing to do with these issuers stay as they are.
package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// ErrTrust means that a role's trust policy is not what this package can change without doing harm.
var ErrTrust = errors.New("the role's trust policy")

const (
	callTimeout = 30 * time.Second

	// A role that setup made says so, and only such a one is ever deleted.
	tagKey, tagValue = "managed-by", "kube-iam-assume"
)

// wanted is what is to be so.
type wanted struct {
	account trust.AWS
	who     trust.Selection
	role    string // its name; "" for none
}

// statement is one of any trust policy, read loosely: whatever it is, it must survive.
type statement = map[string]any

// planner finds out what differs.
type planner struct {
	wanted
	iam  *iam.Client
	plan *plan.Plan
}

func (p *planner) set(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, c := range p.who.Clusters {
		if err := p.setProvider(ctx, c); err != nil {
			return fmt.Errorf("identity provider of %s: %w", c.Issuer, err)
		}
	}
	if p.role == "" {
		return nil
	}
	if err := p.setRole(ctx); err != nil {
		return fmt.Errorf("role %s: %w", p.role, err)
	}
	return nil
}

func (p *planner) setProvider(ctx context.Context, c trust.Cluster) error {
	arn := p.account.ProviderARN(c)
	what := "identity provider " + arn
	found, err := p.iam.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	if absent(err) {
		p.plan.Add(plan.Create, what, "audience "+p.account.Audience, func(ctx context.Context) error {
			// Without thumbprints: IAM has no use for them where a public authority vouches for the host, and fetches one otherwise.
			_, err := p.iam.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
				Url: &c.Issuer, ClientIDList: []string{p.account.Audience}, Tags: tags(),
			})
			return err
		})
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.Contains(found.ClientIDList, p.account.Audience) {
		p.plan.Add(plan.Update, what, "add the audience "+p.account.Audience, func(ctx context.Context) error {
			_, err := p.iam.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn, ClientID: &p.account.Audience})
			return err
		})
	}
	for _, audience := range found.ClientIDList {
		if audience == c.Issuer || strings.HasPrefix(audience, "https://kubernetes.default") {
			p.plan.Note("warning: %s takes the audience %s, which every pod's default token has unless --api-audiences says otherwise: remove it.", arn, audience)
		}
	}
	return nil
}

func (p *planner) setRole(ctx context.Context) error {
	report, err := p.account.Report(p.who)
	if err != nil {
		return err
	}
	if len(report.Policies) > 1 {
		return fmt.Errorf("%w: one trust policy for %d clusters and %d service accounts would have %d characters, IAM's quota allows %d: run setup for fewer of them at a time, "+
			"each time with another --role, or have the quota raised and say --max-characters",
			trust.ErrTooLong, len(p.who.Clusters), len(p.who.Accounts)+len(p.who.Namespaces), p.account.Document(p.who).Characters(), p.account.Characters)
	}
	for _, note := range report.Notes {
		p.plan.Note("%s", note)
	}
	document := report.Policies[0].Document
	p.plan.Note("note: the role has no rights of its own making. Give it some: aws iam attach-role-policy --role-name %s --policy-arn …", p.role)
	found, err := p.iam.GetRole(ctx, &iam.GetRoleInput{RoleName: &p.role})
	if absent(err) {
		p.plan.Add(plan.Create, "role "+p.role, "trusts "+subjects(loose(document)), func(ctx context.Context) error {
			text, err := json.Marshal(document)
			if err != nil {
				return err
			}
			_, err = p.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: &p.role, AssumeRolePolicyDocument: new(string(text)), Tags: tags()})
			return err
		})
		return nil
	}
	if err != nil {
		return err
	}
	return p.adopt(found.Role, document)
}

// adopt changes the statements about these issuers, and no other.
func (p *planner) adopt(role *types.Role, document trust.AWSDocument) error {
	policy, ours, others, err := p.read(role)
	if err != nil {
		return err
	}
	want := loose(document)
	if sameStatements(ours, want) {
		return nil
	}
	policy["Statement"] = append(slices.Clone(others), want...)
	text, err := json.Marshal(policy)
	if err != nil {
		return err
	}
	if len(text) > p.account.Characters {
		return fmt.Errorf("%w: with the %d statements that are there the trust policy would have %d characters, IAM's quota allows %d: use another --role",
			trust.ErrTooLong, len(others), len(text), p.account.Characters)
	}
	detail := "trusts " + subjects(want)
	if len(ours) > 0 {
		detail += "\ninstead of " + subjects(ours)
	}
	if len(others) > 0 {
		detail += fmt.Sprintf("\nand as before %d statements of others", len(others))
	}
	p.plan.Add(plan.Update, "trust policy of role "+p.role, detail, func(ctx context.Context) error {
		_, err := p.iam.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &p.role, PolicyDocument: new(string(text))})
		return err
	})
	return nil
}

// read takes a role's trust policy apart: what is about these issuers, and the rest.
func (p *planner) read(role *types.Role) (policy map[string]any, ours, others []any, err error) {
	if role == nil || role.AssumeRolePolicyDocument == nil {
		return nil, nil, nil, fmt.Errorf("%w is missing in IAM's answer", ErrTrust)
	}
	text, err := url.PathUnescape(*role.AssumeRolePolicyDocument)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%w: %w", ErrTrust, err)
	}
	if err := json.Unmarshal([]byte(text), &policy); err != nil {
		return nil, nil, nil, fmt.Errorf("%w is no JSON: %w", ErrTrust, err)
	}
	if policy["Version"] != "2012-10-17" {
		return nil, nil, nil, fmt.Errorf("%w has the version %v, in which the same text means something else: bring it to 2012-10-17 first", ErrTrust, policy["Version"])
	}
	for _, each := range list(policy["Statement"]) {
		about, mixed := p.about(each)
		switch {
		case mixed:
			return nil, nil, nil, fmt.Errorf("%w has a statement about these issuers and others at once: take it apart first, so that nobody loses access", ErrTrust)
		case about:
			ours = append(ours, each)
		default:
			others = append(others, each)
		}
	}
	return policy, ours, others, nil
}

// about reports whether a statement lets in who these issuers vouch for, and whether it does so for somebody else, too.
func (p *planner) about(each any) (about, mixed bool) {
	s, _ := each.(statement)
	principals, _ := s["Principal"].(map[string]any)
	others := 0
	for kind, value := range principals {
		for _, principal := range list(value) {
			if kind == "Federated" && slices.ContainsFunc(p.who.Clusters, func(c trust.Cluster) bool { return principal == p.account.ProviderARN(c) }) {
				about = true
			} else {
				others++
			}
		}
	}
	return about && s["Effect"] == "Allow", about && others > 0
}

// loose is the document's statements as they come back from IAM.
func loose(document trust.AWSDocument) []any {
	text, err := json.Marshal(document.Statement)
	var statements []any
	if err == nil {
		err = json.Unmarshal(text, &statements)
	}
	if err != nil {
		panic(fmt.Sprintf("setup: text can't be written as JSON: %v", err))
	}
	return statements
}

// list is what JSON has where IAM takes one thing as well as a list of them.
func list(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	}
	return []any{value}
}

// sameStatements compares without regard to order, and to whether one value is in a list.
func sameStatements(a, b []any) bool {
	if len(a) != len(b) {
		return false
	}
	for _, each := range a {
		if !slices.ContainsFunc(b, func(other any) bool { return reflect.DeepEqual(normal(each), normal(other)) }) {
			return false
		}
	}
	return true
}

func normal(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, member := range value {
			if key != "Sid" { // a name, which decides nothing
				out[key] = normal(member)
			}
		}
		return out
	case []any:
		var texts []string
		for _, member := range value {
			text, _ := member.(string)
			texts = append(texts, text)
		}
		slices.Sort(texts)
		if len(texts) == 1 {
			return texts[0]
		}
		return texts
	}
	return value
}

// subjects says whom statements let in.
func subjects(statements []any) string {
	var all []string
	for _, each := range statements {
		s, _ := each.(statement)
		condition, _ := s["Condition"].(map[string]any)
		named := false
		for _, operator := range condition {
			keys, _ := operator.(map[string]any)
			for key, values := range keys {
				host, isSubject := strings.CutSuffix(key, ":sub")
				for _, subject := range list(values) {
					if isSubject {
						named = true
						all = append(all, fmt.Sprintf("%v of https://%s", subject, host))
					}
				}
			}
		}
		if !named {
			all = append(all, "ANYBODY of an issuer: a statement without a subject")
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func absent(err error) bool {
	var missing *types.NoSuchEntityException
	return errors.As(err, &missing)
}

func tags() []types.Tag {
	return []types.Tag{{Key: new(tagKey), Value: new(tagValue)}}
}
