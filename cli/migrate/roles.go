package migrate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// policy is a trust policy of which only the list of statements is looked at; whatever else somebody wrote stays as it is.
type policy struct {
	Version   string            `json:"Version"`
	ID        string            `json:"Id,omitempty"`
	Statement []json.RawMessage `json:"Statement"`
}

// parsePolicy takes one statement without a list, too, as IAM does.
func parsePolicy(document json.RawMessage) (policy, error) {
	var p policy
	var raw struct {
		Version   string          `json:"Version"`
		ID        string          `json:"Id"`
		Statement json.RawMessage `json:"Statement"`
	}
	if err := json.Unmarshal(document, &raw); err != nil {
		return p, err
	}
	p.Version, p.ID = raw.Version, raw.ID
	if trimmed := bytes.TrimSpace(raw.Statement); bytes.HasPrefix(trimmed, []byte("{")) {
		p.Statement = []json.RawMessage{raw.Statement}
		return p, nil
	}
	return p, json.Unmarshal(raw.Statement, &p.Statement)
}

func encode(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("migrate: %T can't be written as JSON: %v", v, err))
	}
	return data
}

// writeRoles writes the trust policy of each role: what it is, and beside that the service accounts, by audience and subject.
func (p *planner) writeRoles() {
	for _, arn := range p.rolesInOrder() {
		who := trust.Selection{Clusters: []trust.Cluster{p.Cluster}}
		for _, t := range p.tasks {
			if account := trust.ServiceAccount(t.account); t.role == arn && !slices.Contains(who.Accounts, account) {
				who.Accounts = append(who.Accounts, account)
			}
		}
		p.role(arn, who)
	}
	var unknown []string
	for _, r := range p.plan.Roles {
		if !r.Whole {
			unknown = append(unknown, r.ARN)
		}
	}
	if len(unknown) > 0 {
		p.note("roles", "the present trust policies are not known of "+join(unknown), "Plan again with --roles or --aws; or read each with aws iam get-role, and add the statement to it. What is printed here must not replace it.")
	}
}

// accountOf is the partition and the ID of a role's account, which has to know the issuer.
func accountOf(arn string) (partition, id string) {
	parts := append(strings.SplitN(arn, ":", 6), make([]string, 5)...)
	return parts[1], parts[4]
}

func (p *planner) role(arn string, who trust.Selection) {
	partition, id := accountOf(arn)
	account := trust.AWS{Partition: partition, Account: id, Audience: p.Audience, Characters: p.Characters}
	if err := account.CheckIssuer(p.Cluster); err != nil {
		p.decide("role "+arn, err.Error(), "The role can't be told of these service accounts as it is.")
		return
	}
	r, err := newRole(arn, p.Roles[arn].Trust, account, who)
	if err != nil {
		p.decide("role "+arn, "its present trust policy: "+err.Error(), "Read it again with aws iam get-role.")
		return
	}
	if r.Characters > p.Characters {
		p.tooLong(r, account, who)
	}
	p.plan.Roles = append(p.plan.Roles, *r)
}

// newRole is a role with the policy that lets these service accounts in beside whom it lets in now, if that is known.
func newRole(arn string, present json.RawMessage, account trust.AWS, who trust.Selection) (*Role, error) {
	r := &Role{ARN: arn, Changed: true, Document: encode(account.Document(who))}
	for _, a := range who.Accounts {
		r.Accounts = append(r.Accounts, a.String())
	}
	if len(present) > 0 {
		if err := r.merge(present, account, who); err != nil {
			return nil, err
		}
	}
	r.Characters = len(r.Document)
	return r, nil
}

// tooLong splits the service accounts among as few roles as will do.
func (p *planner) tooLong(r *Role, account trust.AWS, who trust.Selection) {
	var parts []*Role
	var last []trust.ServiceAccount
	fits := func(accounts []trust.ServiceAccount) (*Role, bool) {
		part, err := newRole(r.ARN, r.Before, account, trust.Selection{Clusters: who.Clusters, Accounts: accounts})
		return part, err == nil && part.Characters <= p.Characters
	}
	for _, a := range who.Accounts {
		more := append(slices.Clone(last), a)
		if part, ok := fits(more); ok && len(last) > 0 {
			parts[len(parts)-1], last = part, more
			continue
		}
		part, ok := fits([]trust.ServiceAccount{a})
		if !ok { // who is let in now leaves no room for anybody
			parts = nil
			break
		}
		parts, last = append(parts, part), []trust.ServiceAccount{a}
	}
	for _, part := range parts {
		r.Parts = append(r.Parts, Part{part.Accounts, part.Characters, part.Document})
	}
	p.decideTooLong(r)
}

func (p *planner) decideTooLong(r *Role) {
	remedy := fmt.Sprintf("Have the quota L-C07B4B0D raised (%d at most) and say --max-characters", trust.AWSMostCharacters)
	if len(r.Parts) > 1 {
		remedy += fmt.Sprintf("; or let %d roles of the same permissions share the service accounts, this one and others, as its parts show. "+
			"Name the others where workloads name this one, which the agent then gives them just so, and plan again", len(r.Parts))
	}
	p.decide("role "+r.ARN, fmt.Sprintf("its trust policy would have %d characters, and IAM's quota allows %d", r.Characters, p.Characters), remedy+".")
}

// merge keeps every statement there is. Service accounts that one of them lets in already are left out, the others join a statement that differs from
// theirs in nothing else, or get one.
func (r *Role) merge(present json.RawMessage, account trust.AWS, who trust.Selection) error {
	merged, err := parsePolicy(present)
	if err != nil {
		return err
	}
	r.Before, r.Whole, r.Changed = compact(present), true, false
	cluster, joined := who.Clusters[0], -1
	for i, statement := range merged.Statement {
		subjects, ours := letsIn(statement, account, cluster)
		if !ours {
			continue
		}
		joined = i
		who.Accounts = slices.DeleteFunc(slices.Clone(who.Accounts), func(a trust.ServiceAccount) bool { return slices.Contains(subjects, a.Subject()) })
	}
	switch {
	case len(who.Accounts) == 0:
	case joined >= 0:
		r.Changed = true
		merged.Statement = slices.Clone(merged.Statement)
		merged.Statement[joined] = withSubjects(merged.Statement[joined], cluster, who.Accounts)
	default:
		r.Changed = true
		merged.Statement = append(slices.Clone(merged.Statement), encode(account.Document(who).Statement[0]))
	}
	r.Document = compact(encode(merged))
	return nil
}

// letsIn are the subjects of a statement that is for this issuer and audience, and has no other condition.
func letsIn(statement json.RawMessage, account trust.AWS, c trust.Cluster) (subjects []string, ours bool) {
	var s struct {
		Effect    string                                `json:"Effect"`
		Principal map[string]json.RawMessage            `json:"Principal"`
		Action    json.RawMessage                       `json:"Action"`
		Condition map[string]map[string]json.RawMessage `json:"Condition"`
	}
	if json.Unmarshal(statement, &s) != nil || s.Effect != "Allow" || len(s.Condition) != 1 || len(s.Condition["StringEquals"]) != 2 {
		return nil, false
	}
	equals := s.Condition["StringEquals"]
	subjects = texts(equals[c.Host()+":sub"])
	return subjects, len(subjects) > 0 && slices.Equal(texts(s.Principal["Federated"]), []string{account.ProviderARN(c)}) &&
		slices.Equal(texts(s.Action), []string{"sts:AssumeRoleWithWebIdentity"}) && slices.Equal(texts(equals[c.Host()+":aud"]), []string{account.Audience})
}

// withSubjects adds service accounts to a statement that letsIn has looked at.
func withSubjects(statement json.RawMessage, c trust.Cluster, accounts []trust.ServiceAccount) json.RawMessage {
	var s map[string]json.RawMessage
	var condition map[string]map[string]json.RawMessage
	if json.Unmarshal(statement, &s) != nil || json.Unmarshal(s["Condition"], &condition) != nil {
		panic("migrate: a statement was read before, and is no statement now")
	}
	subjects := texts(condition["StringEquals"][c.Host()+":sub"])
	for _, a := range accounts {
		subjects = append(subjects, a.Subject())
	}
	condition["StringEquals"][c.Host()+":sub"] = encode(trust.Values(subjects))
	s["Condition"] = encode(condition)
	return encode(s)
}

func compact(document json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, document) != nil {
		return document // it was read as JSON before
	}
	return out.Bytes()
}

// onlyFor reports whether a statement is for nobody but these roles.
func onlyFor(statement json.RawMessage, nodes []string) bool {
	who := principals(statement)
	return len(who) > 0 && !slices.ContainsFunc(who, func(arn string) bool { return !slices.Contains(nodes, arn) })
}

// principals are the roles and accounts that a statement is for, if it is for nothing else.
func principals(statement json.RawMessage) []string {
	var s struct {
		Principal map[string]json.RawMessage `json:"Principal"`
	}
	if json.Unmarshal(statement, &s) != nil || len(s.Principal) != 1 {
		return nil
	}
	return texts(s.Principal["AWS"])
}

// texts is one text, or a list of them.
func texts(raw json.RawMessage) []string {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}
	}
	var many []string
	_ = json.Unmarshal(raw, &many) // anything else is nobody's name
	return many
}
