package agent

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Rules are what one namespace allows.
type Rules struct {
	all      bool
	patterns []pattern
}

type pattern struct {
	text  string
	match func(arn string) bool
}

// maxRules is the largest annotation that the API server takes.
const maxRules = 256 << 10

// Rules reads a namespace's annotations. The error is ErrRules; the patterns that could be read hold all the same, as they do for the agent.
func (s Settings) Rules(annotations map[string]string) (Rules, error) {
	text := annotations[s.NamespaceKey]
	switch {
	case !s.Restricted:
		return Rules{all: true}, nil
	case len(text) > maxRules:
		return Rules{}, fmt.Errorf("%w: the annotation %s has more than %d bytes", ErrRules, s.NamespaceKey, maxRules)
	case text == "":
		return Rules{}, nil
	case s.Agent == Kiam:
		return s.permitted(text)
	}
	return s.allowedRoles(text)
}

// permitted is kiam's one expression, for the whole ARN unless it was started with --disable-strict-namespace-regexp.
func (s Settings) permitted(text string) (Rules, error) {
	expression := text
	if s.Format == "anchored" {
		expression = "^" + text + "$" // without brackets, as kiam does it: in a|b each end is open
	}
	compiled, err := regexp.Compile(expression)
	if err != nil {
		return Rules{}, fmt.Errorf("%w: the annotation %s is no regular expression: %w", ErrRules, s.NamespaceKey, err)
	}
	return Rules{patterns: []pattern{{text, compiled.MatchString}}}, nil
}

// allowedRoles is kube2iam's list: each a name, path or ARN with asterisks, or a regular expression that needs to match a part only.
func (s Settings) allowedRoles(text string) (Rules, error) {
	roles, err := parseAllowedRoles([]byte(text))
	if err != nil {
		return Rules{}, fmt.Errorf("%w: the annotation %s: %w", ErrRules, s.NamespaceKey, err)
	}
	var r Rules
	var wrong error
	for _, role := range roles {
		arn, err := s.ARN(role)
		if err != nil {
			return Rules{}, fmt.Errorf("%w: the annotation %s: %w", ErrRules, s.NamespaceKey, err)
		}
		if s.Format != "regexp" {
			r.patterns = append(r.patterns, pattern{role, func(other string) bool { return glob(arn, other) }})
			continue
		}
		compiled, err := regexp.Compile(arn)
		if err != nil {
			wrong = fmt.Errorf("%w: in the annotation %s, %q is no regular expression: %w", ErrRules, s.NamespaceKey, role, err)
			continue
		}
		r.patterns = append(r.patterns, pattern{role, compiled.MatchString})
	}
	return r, wrong
}

// parseAllowedRoles reads the list of kube2iam's annotation of namespaces.
func parseAllowedRoles(data []byte) ([]string, error) {
	var roles []string
	if err := json.Unmarshal(data, &roles); err != nil {
		return nil, fmt.Errorf("want a list in JSON, such as [\"payments\"]: %w", err)
	}
	return roles, nil
}

// Allow reports whether the namespace allows a role.
func (r Rules) Allow(arn string) bool {
	return r.all || slices.ContainsFunc(r.patterns, func(p pattern) bool { return p.match(arn) })
}

// Patterns are those of the annotation, as written.
func (r Rules) Patterns() []string {
	var all []string
	for _, p := range r.patterns {
		all = append(all, p.text)
	}
	return all
}

// glob knows asterisks only, each for any text, slashes included.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text[len(first):], last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return true
}
