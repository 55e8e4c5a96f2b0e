package provision

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
)

// Allowed decides what versitygw does not: whether the policies of a role allow an action outside S3; the error is AWS's. Policies with deny statements or conditions on such
// actions can't be decided here, and allow nothing.
func (a *Account) Allowed(roleARN, action, resource string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, known := range a.roles {
		if known.arn != roleARN {
			continue
		}
		for _, document := range known.policies {
			if allows(document, action, resource) {
				return nil
			}
		}
	}
	return fmt.Errorf("%s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action", roleARN, action, resource, action)
}

func allows(document, action, resource string) bool {
	var policy struct {
		Statement []struct {
			Effect           string
			Action, Resource any
			Condition        map[string]any
		}
	}
	if json.Unmarshal([]byte(document), &policy) != nil {
		return false
	}
	for _, s := range policy.Statement {
		if s.Effect == "Allow" && len(s.Condition) == 0 && matches(s.Action, action) && matches(s.Resource, resource) {
			return true
		}
	}
	return false
}

func matches(patterns any, value string) bool {
	for _, pattern := range textsOf(patterns) {
		if glob(pattern, value) {
			return true
		}
	}
	return false
}

// glob matches as IAM does: * stands for anything, slashes included.
func glob(pattern, value string) bool {
	const slash = "\x00"
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", slash), strings.ReplaceAll(value, "/", slash))
	return err == nil && ok
}
