// Package iampolicy decides what AWS STS would: whether the trust policy of a role lets in the token of a service account.
//
// It follows IAM's reference of policy elements and its evaluation logic: an explicit Deny wins, all conditions of a statement must hold, one of a condition's
// values must match, names of keys and of actions are read without regard to case. A condition on what a token does not say, such as the caller's address,
// leaves the answer open.
package iampolicy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ErrPolicy means that a document is no policy.
var ErrPolicy = errors.New("no trust policy")

// maxDocument is beyond IAM's highest quota of 8,192 characters, URL-encoded.
const maxDocument = 64 << 10

const assume = "sts:AssumeRoleWithWebIdentity"

// Token is what STS knows of the caller.
type Token struct {
	Provider string // ARN of the issuer's identity provider
	Host     string // the issuer without its scheme, with which the condition keys begin
	Subject  string
	Audience string
}

// Verdict is the answer.
type Verdict int

// Depends is on what the token does not say.
const (
	Refused Verdict = iota
	Depends
	Allowed
)

// Decision is a verdict and, unless it is Allowed, why.
type Decision struct {
	Verdict Verdict
	Why     string
}

// Policy is a trust policy.
type Policy struct{ statements []statement }

type statement struct {
	Effect       string
	Principal    any
	NotPrincipal any
	Action       texts
	NotAction    texts
	Condition    map[string]map[string]texts
}

// texts is one value or a list of them: IAM takes both, and text as well as numbers and truth.
type texts []string

func (t *texts) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	many, isList := value.([]any)
	if !isList {
		many = []any{value}
	}
	for _, one := range many {
		switch one.(type) {
		case string, bool, float64:
			*t = append(*t, fmt.Sprint(one))
		default:
			return fmt.Errorf("%v is no value", one)
		}
	}
	return nil
}

// Parse reads a document as IAM's API returns it, percent-encoded, or as people write it. The error is ErrPolicy.
func Parse(document string) (Policy, error) {
	if len(document) > maxDocument {
		return Policy{}, fmt.Errorf("%w: %d characters", ErrPolicy, len(document))
	}
	if !strings.HasPrefix(strings.TrimSpace(document), "{") {
		decoded, err := url.PathUnescape(document)
		if err != nil {
			return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
		}
		document = decoded
	}
	var outer struct{ Statement json.RawMessage }
	if err := json.Unmarshal([]byte(document), &outer); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	var p Policy
	if strings.HasPrefix(string(outer.Statement), "{") {
		outer.Statement = slices.Concat([]byte{'['}, outer.Statement, []byte{']'})
	}
	if err := json.Unmarshal(outer.Statement, &p.statements); err != nil {
		return Policy{}, fmt.Errorf("%w: %w", ErrPolicy, err)
	}
	if len(p.statements) == 0 {
		return Policy{}, fmt.Errorf("%w: it has no statement", ErrPolicy)
	}
	return p, nil
}

// Names reports whether a statement that allows something is about the provider.
func (p Policy) Names(provider string) bool {
	return slices.ContainsFunc(p.statements, func(s statement) bool { return s.Effect == "Allow" && s.named(provider) })
}

// Decide says whether a token is let in.
func (p Policy) Decide(t Token) Decision {
	denied, best := Decision{Verdict: Refused}, Decision{Verdict: Refused}
	var reasons []string
	for _, s := range p.statements {
		if !s.concerns(t.Provider) {
			continue
		}
		switch d := s.decide(t); {
		case s.Effect == "Deny" && d.Verdict > denied.Verdict:
			denied = d
		case s.Effect == "Allow" && d.Verdict > best.Verdict:
			best = d
		case s.Effect == "Allow" && d.Verdict == Refused:
			reasons = append(reasons, d.Why)
		}
	}
	switch {
	case denied.Verdict == Allowed:
		return Decision{Refused, "a statement with the effect Deny is about it"}
	case best.Verdict == Refused && len(reasons) == 0:
		return Decision{Refused, "no statement that allows something names " + t.Provider}
	case best.Verdict == Refused:
		return Decision{Refused, strings.Join(reasons, "; or ")}
	case best.Verdict == Allowed && denied.Verdict == Depends:
		return Decision{Depends, "a statement with the effect Deny: " + denied.Why}
	}
	return best
}

// named reports whether the principal is the provider, or everybody.
func (s statement) named(provider string) bool { return includes(s.Principal, provider) }

func (s statement) concerns(provider string) bool {
	if s.NotPrincipal != nil {
		return !includes(s.NotPrincipal, provider)
	}
	return s.named(provider)
}

func includes(principal any, provider string) bool {
	switch principal := principal.(type) {
	case string:
		return principal == "*"
	case map[string]any:
		for kind, value := range principal {
			many, isList := value.([]any)
			if !isList {
				many = []any{value}
			}
			if slices.Contains(many, any("*")) || kind == "Federated" && slices.Contains(many, any(provider)) {
				return true
			}
		}
	}
	return false
}

// decide is Allowed where all of the statement holds, whatever its effect.
func (s statement) decide(t Token) Decision {
	acts := slices.ContainsFunc(s.Action, func(pattern string) bool { return like(strings.ToLower(assume), strings.ToLower(pattern)) })
	if s.Action == nil && s.NotAction != nil {
		acts = !slices.ContainsFunc(s.NotAction, func(pattern string) bool { return like(strings.ToLower(assume), strings.ToLower(pattern)) })
	}
	if !acts {
		return Decision{Refused, fmt.Sprintf("its action is %s, not %s", strings.Join(s.Action, ", "), assume)}
	}
	var open, refused []string
	for operator, keys := range s.Condition {
		for key, values := range keys {
			switch d := condition(operator, key, values, t); d.Verdict {
			case Refused:
				refused = append(refused, d.Why)
			case Depends:
				open = append(open, d.Why)
			case Allowed:
			}
		}
	}
	slices.Sort(open)
	slices.Sort(refused)
	switch {
	case len(refused) > 0:
		return Decision{Refused, strings.Join(refused, ", and ")}
	case len(open) > 0:
		return Decision{Depends, strings.Join(open, ", and ")}
	}
	return Decision{Verdict: Allowed}
}
