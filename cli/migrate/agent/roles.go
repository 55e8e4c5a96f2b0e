package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// A Role is one of IAM.
type Role struct {
	ARN   string
	Trust json.RawMessage // its trust policy; nil if it was not told
}

// Roles are an account's, or several accounts', by ARN; nil if nobody said which there are.
type Roles map[string]Role

// ErrRoles means that a file is not what `aws iam list-roles` prints.
var ErrRoles = errors.New("no list of roles")

// ParseRoles reads what `aws iam list-roles` prints, or several of that. The error is ErrRoles.
func ParseRoles(data []byte) (Roles, error) {
	roles := Roles{}
	for decoder := json.NewDecoder(bytes.NewReader(data)); decoder.More(); {
		var list struct {
			Roles *[]struct {
				Arn                      string          `json:"Arn"`
				AssumeRolePolicyDocument json.RawMessage `json:"AssumeRolePolicyDocument"`
			} `json:"Roles"`
		}
		if err := decoder.Decode(&list); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRoles, err)
		}
		if list.Roles == nil {
			return nil, fmt.Errorf("%w: it has no member Roles; want the output of aws iam list-roles --output json", ErrRoles)
		}
		for _, r := range *list.Roles {
			trust, err := Document(r.AssumeRolePolicyDocument)
			if err != nil {
				return nil, fmt.Errorf("%w: the trust policy of %q: %w", ErrRoles, r.Arn, err)
			}
			if accountOf(r.Arn) == "" {
				return nil, fmt.Errorf("%w: %q is no ARN", ErrRoles, r.Arn)
			}
			roles[r.Arn] = Role{r.Arn, trust}
		}
	}
	return roles, nil
}

// Document is a policy as JSON. IAM's API gives it percent-encoded in a text; the AWS CLI decodes that.
func Document(raw json.RawMessage) (json.RawMessage, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		decoded, err := url.PathUnescape(text)
		if err != nil {
			return nil, err
		}
		raw = json.RawMessage(decoded)
	}
	var object map[string]any
	if len(raw) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	return raw, nil
}

// Find holds an ARN against the list, if there is one. The error is ErrRole, with the role that was meant if one has the name.
func (r Roles) Find(arn string) (Role, error) {
	found, listed := r[arn]
	if listed || len(r) == 0 || !r.covers(arn) {
		return found, nil
	}
	for other := range r {
		if accountOf(other) == accountOf(arn) && strings.EqualFold(roleName(other), roleName(arn)) {
			return Role{}, fmt.Errorf("%w: %s does not exist; the role of this name is %s", ErrRole, arn, other)
		}
	}
	return Role{}, fmt.Errorf("%w: %s is not in the list of roles", ErrRole, arn)
}

// covers reports whether the list has roles of the ARN's account at all.
func (r Roles) covers(arn string) bool {
	for other := range r {
		if accountOf(other) == accountOf(arn) {
			return true
		}
	}
	return false
}

func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}
