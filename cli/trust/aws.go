package trust

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

const (
	// AWSAudience is that of tokens for AWS.
	AWSAudience = "sts.amazonaws.com"
	// AWSCharacters is IAM's default quota L-C07B4B0D: the characters of a role's trust policy, white space not counted.
	AWSCharacters = 2048
	// AWSMostCharacters is what the quota can be raised to.
	AWSMostCharacters = 8192

	maxAudience  = 255 // of one client ID (API reference of IAM, CreateOpenIDConnectProvider)
	maxIssuer    = 255 // of the provider's URL (ibid.)
	noteOfTags   = "note: session tags can't come from a Kubernetes token: the API server decides its claims, and https://aws.amazon.com/tags is none of them. Tell roles apart instead."
	awsNamespace = "StringLike"
)

// An AWS is the account that has the roles.
type AWS struct {
	Partition  string // aws, aws-cn or aws-us-gov
	Account    string
	Audience   string
	Characters int // quota of a trust policy
}

// AWSReport is one policy for each role that is needed.
type AWSReport struct {
	Policies []AWSPolicy `json:"policies"`
	Notes    []string    `json:"notes,omitempty"`
}

// AWSPolicy is the trust policy of one role.
type AWSPolicy struct {
	Clusters   []string         `json:"clusters"`
	Accounts   []ServiceAccount `json:"serviceAccounts,omitempty"`
	Namespaces []string         `json:"namespaces,omitempty"`
	Characters int              `json:"characters"` // as IAM counts them
	Document   AWSDocument      `json:"document"`
}

// AWSDocument is a trust policy as IAM takes it.
type AWSDocument struct {
	Version   string         `json:"Version"`
	Statement []AWSStatement `json:"Statement"`
}

// AWSStatement lets the subjects of one issuer in.
type AWSStatement struct {
	Effect    string                       `json:"Effect"`
	Principal map[string]string            `json:"Principal"`
	Action    string                       `json:"Action"`
	Condition map[string]map[string]Values `json:"Condition"`
}

// Values are a condition's: IAM takes one as text, and any of several as a list.
type Values []string

// MarshalJSON saves the brackets of one value, which IAM counts.
func (v Values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return json.Marshal(v[0])
	}
	return json.Marshal([]string(v))
}

var (
	accountID  = regexp.MustCompile(`^[0-9]{12}$`)
	partitions = []string{"aws", "aws-cn", "aws-us-gov"}
)

// Check holds the account to what IAM takes. The error is ErrInput.
func (a AWS) Check() error {
	switch {
	case !accountID.MatchString(a.Account):
		return fmt.Errorf("%w account %q: want 12 digits", ErrInput, a.Account)
	case !slices.Contains(partitions, a.Partition):
		return fmt.Errorf("%w partition %q: want aws, aws-cn or aws-us-gov", ErrInput, a.Partition)
	case a.Characters < AWSCharacters || a.Characters > AWSMostCharacters:
		return fmt.Errorf("%w quota of %d characters: IAM's is %d, and can be raised to %d", ErrInput, a.Characters, AWSCharacters, AWSMostCharacters)
	}
	return CheckAudience(a.Audience, maxAudience)
}

// CheckAudience refuses what is no audience of one consumer. The error is ErrInput.
func CheckAudience(audience string, longest int) error {
	if audience == "" || len(audience) > longest || strings.ContainsAny(audience, "*?$ \"\\'") || strings.HasPrefix(audience, "https://kubernetes.default") {
		return fmt.Errorf("%w audience %q: want 1 to %d characters without wildcards, and not the API server's own, which every pod's token has", ErrInput, audience, longest)
	}
	return nil
}

// CheckIssuer holds a cluster's issuer to what IAM takes. The error is ErrInput.
func (a AWS) CheckIssuer(c Cluster) error {
	host, _, _ := strings.Cut(c.Host(), "/")
	switch {
	case strings.Contains(host, ":"):
		return fmt.Errorf("%w issuer %s for AWS: IAM takes no port", ErrInput, c.Issuer)
	case len(c.Issuer) > maxIssuer:
		return fmt.Errorf("%w issuer %s for AWS: it has %d characters, IAM takes %d", ErrInput, c.Issuer, len(c.Issuer), maxIssuer)
	case c.Issuer == a.Audience:
		return fmt.Errorf("%w audience %s: it is the issuer, which API servers make an audience of every pod's token unless --api-audiences says otherwise", ErrInput, a.Audience)
	}
	return nil
}

// ProviderARN names the identity provider of a cluster's issuer.
func (a AWS) ProviderARN(c Cluster) string {
	return fmt.Sprintf("arn:%s:iam::%s:oidc-provider/%s", a.Partition, a.Account, c.Host())
}

// Document is the trust policy of a role for everybody in the selection, however long.
func (a AWS) Document(s Selection) AWSDocument {
	var exact, patterns Values
	for _, account := range s.Accounts {
		exact = append(exact, account.Subject())
	}
	for _, namespace := range s.Namespaces {
		patterns = append(patterns, "system:serviceaccount:"+namespace+":*")
	}
	d := AWSDocument{Version: "2012-10-17"}
	for _, c := range s.Clusters {
		// Conditions of one statement must all hold, so exact subjects and namespaces need statements of their own.
		for operator, subjects := range map[string]Values{"StringEquals": exact, awsNamespace: patterns} {
			if len(subjects) == 0 {
				continue
			}
			condition := map[string]map[string]Values{"StringEquals": {c.Host() + ":aud": {a.Audience}}}
			if operator == awsNamespace {
				condition[awsNamespace] = map[string]Values{}
			}
			condition[operator][c.Host()+":sub"] = subjects
			d.Statement = append(d.Statement, AWSStatement{"Allow", map[string]string{"Federated": a.ProviderARN(c)}, "sts:AssumeRoleWithWebIdentity", condition})
		}
	}
	slices.SortStableFunc(d.Statement, func(x, y AWSStatement) int { return len(x.Condition) - len(y.Condition) })
	return d
}

// Report writes the policies, as few as fit the quota. The errors are ErrInput and ErrTooLong.
func (a AWS) Report(s Selection) (AWSReport, error) {
	if err := a.Check(); err != nil {
		return AWSReport{}, err
	}
	for _, c := range s.Clusters {
		if err := a.CheckIssuer(c); err != nil {
			return AWSReport{}, err
		}
	}
	if err := s.Check(); err != nil {
		return AWSReport{}, err
	}
	parts, err := a.split(s)
	if err != nil {
		return AWSReport{}, err
	}
	r := AWSReport{Notes: append(s.Warnings(), noteOfTags)}
	for _, part := range parts {
		p := AWSPolicy{Accounts: part.Accounts, Namespaces: part.Namespaces, Document: a.Document(part)}
		for _, c := range part.Clusters {
			p.Clusters = append(p.Clusters, c.ID)
		}
		p.Characters = p.Document.Characters()
		r.Policies = append(r.Policies, p)
	}
	if len(parts) > 1 {
		r.Notes = append(r.Notes, fmt.Sprintf("warning: one policy would have %d characters, and IAM's quota L-C07B4B0D allows %d: these are %d policies, each for a role of its own. "+
			"If you had the quota raised (%d at most), say --max-characters.", a.Document(s).Characters(), a.Characters, len(parts), AWSMostCharacters))
	}
	return r, nil
}

// Characters are what IAM counts: all but white space, of which there is none in what it is sent.
func (d AWSDocument) Characters() int {
	text, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("trust: text can't be written as JSON: %v", err))
	}
	return len(text)
}

// split fills roles with clusters, and only where one cluster is too much for one role with a part of its accounts.
func (a AWS) split(s Selection) ([]Selection, error) {
	if a.Document(s).Characters() <= a.Characters {
		return []Selection{s}, nil
	}
	return fill(s.pieces(), func(part Selection) bool { return a.Document(part).Characters() <= a.Characters }, func(part Selection) ([]Selection, error) {
		if len(part.Clusters) == 1 && len(part.Accounts)+len(part.Namespaces) > 1 {
			return part.byMember(), nil
		}
		return nil, fmt.Errorf("%w: the policy of one account of cluster %s has %d characters", ErrTooLong, part.Clusters[0].ID, a.Document(part).Characters())
	})
}

// Text writes each policy, ready for a file; several as a stream, as jq reads it.
func (r AWSReport) Text(out io.Writer) error {
	for _, p := range r.Policies {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(p.Document); err != nil {
			return err
		}
	}
	return nil
}
