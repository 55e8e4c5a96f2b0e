package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
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
			if t.role == arn && !slices.Contains(who.Accounts, t.account) {
				who.Accounts = append(who.Accounts, t.account)
			}
		}
		p.role(arn, who)
	}
}

// accountOf is the partition and the ID of a role's account, which has to know the issuer.
func accountOf(arn string) (partition, id string) {
	parts := strings.SplitN(arn, ":", 6)
	return parts[1], parts[4]
}

func (p *planner) role(arn string, who trust.Selection) {
	partition, id := accountOf(arn)
	account := trust.AWS{Partition: partition, Account: id, Audience: p.Audience, Characters: p.Characters}
	report, err := account.Report(who)
	if err != nil && !errors.Is(err, trust.ErrTooLong) {
		p.decide("role "+arn, err.Error(), "The role can't be told of these service accounts as it is.")
		return
	}
	r := Role{ARN: arn, Changed: true}
	for _, a := range who.Accounts {
		r.Accounts = append(r.Accounts, a.String())
	}
	added := account.Document(who)
	r.Document = encode(added)
	if known, found := p.Roles[arn]; found && len(known.Trust) > 0 {
		if err := r.merge(known.Trust, added, p.NodeRoles); err != nil {
			p.decide("role "+arn, "its present trust policy: "+err.Error(), "Read it again with aws iam get-role.")
			return
		}
	} else if statement := p.nodeStatement(); statement != nil {
		merged := policy{Version: added.Version, Statement: []json.RawMessage{statement}}
		for _, s := range added.Statement {
			merged.Statement = append(merged.Statement, encode(s))
		}
		r.Document, r.After = encode(merged), encode(added)
	}
	r.Characters = len(r.Document)
	if r.Characters > p.Characters {
		r.Parts = report.Policies
		p.tooLong(&r, added)
	}
	if !r.Whole {
		p.note("role "+arn, "its present trust policy is not known", "Read it with aws iam get-role and add the statement to it, or plan again with --roles or --aws. Don't replace it by what is printed here.")
	}
	p.plan.Roles = append(p.plan.Roles, r)
}

// nodeStatement is how roles are let in by the old way, as far as that was said.
func (p *planner) nodeStatement() json.RawMessage {
	if len(p.NodeRoles) == 0 {
		return nil
	}
	return encode(map[string]any{"Effect": "Allow", "Principal": map[string]any{"AWS": trust.Values(p.NodeRoles)}, "Action": "sts:AssumeRole"})
}

// merge keeps every statement there is, and adds those that are not. After is the policy without the node's way in.
func (r *Role) merge(present json.RawMessage, added trust.AWSDocument, nodes []string) error {
	before, err := parsePolicy(present)
	if err != nil {
		return err
	}
	merged, after := before, policy{Version: before.Version, ID: before.ID, Statement: []json.RawMessage{}}
	r.Changed = false
	for _, statement := range before.Statement {
		if !onlyFor(statement, nodes) {
			after.Statement = append(after.Statement, statement)
		}
	}
	for _, statement := range added.Statement {
		text := encode(statement)
		if slices.ContainsFunc(before.Statement, func(other json.RawMessage) bool { return same(text, other) }) {
			continue
		}
		r.Changed = true
		merged.Statement = append(merged.Statement[:len(merged.Statement):len(merged.Statement)], text)
		after.Statement = append(after.Statement, text)
	}
	r.Before, r.Document, r.Whole = compact(present), compact(encode(merged)), true
	if len(after.Statement) < len(merged.Statement) {
		r.After = compact(encode(after))
	}
	return nil
}

func compact(document json.RawMessage) json.RawMessage {
	var out bytes.Buffer
	if json.Compact(&out, document) != nil {
		return document // it was read as JSON before
	}
	return out.Bytes()
}

// same compares what two statements say. A list of one is that one.
func same(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(unlisted(x), unlisted(y))
}

func unlisted(v any) any {
	switch v := v.(type) {
	case []any:
		if len(v) == 1 {
			return unlisted(v[0])
		}
	case map[string]any:
		for key, member := range v {
			v[key] = unlisted(member)
		}
	}
	return v
}

// onlyFor reports whether a statement is for nobody but these roles.
func onlyFor(statement json.RawMessage, nodes []string) bool {
	var s struct {
		Principal map[string]json.RawMessage `json:"Principal"`
	}
	if json.Unmarshal(statement, &s) != nil || len(s.Principal) != 1 {
		return false
	}
	principals := texts(s.Principal["AWS"])
	return len(principals) > 0 && !slices.ContainsFunc(principals, func(arn string) bool { return !slices.Contains(nodes, arn) })
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

func (p *planner) tooLong(r *Role, added trust.AWSDocument) {
	remedy := fmt.Sprintf("Have the quota L-C07B4B0D raised (%d at most) and say --max-characters", trust.AWSMostCharacters)
	if len(r.Parts) > 1 {
		remedy += fmt.Sprintf("; or make %d roles with the same permissions, one for each of the parts that -o json lists, and name them in the workloads' annotations", len(r.Parts))
	} else {
		remedy += "; or make a second role with the same permissions for the service accounts, and name it in the workloads' annotations"
	}
	p.decide("role "+r.ARN, fmt.Sprintf("its trust policy for both ways has %d characters, and IAM's quota allows %d; the service accounts alone need %d", r.Characters, p.Characters, added.Characters()), remedy+".")
}
