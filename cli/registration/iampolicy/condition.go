package iampolicy

import (
	"fmt"
	"slices"
	"strings"
)

// comparison is how an operator compares the value of the request with one of the policy.
type comparison struct {
	match   func(value, with string) bool
	negated bool
}

func equal(value, with string) bool { return value == with }

var comparisons = map[string]comparison{
	"StringEquals": {equal, false}, "StringNotEquals": {equal, true},
	"StringEqualsIgnoreCase": {strings.EqualFold, false}, "StringNotEqualsIgnoreCase": {strings.EqualFold, true},
	"StringLike": {like, false}, "StringNotLike": {like, true},
}

// condition is one key of one operator.
func condition(operator, key string, values []string, t Token) Decision {
	quantifier, name, quantified := strings.Cut(operator, ":")
	if !quantified {
		quantifier, name = "", operator
	}
	name, ifExists := strings.CutSuffix(name, "IfExists")
	value, has, known := t.value(key)
	compare, is := comparisons[name]
	says := fmt.Sprintf("%s %s", operator, key)
	switch {
	case !known:
		return Decision{Depends, says + " is about what the token does not say"}
	case name == "Null":
		return null(says, values, has)
	case !has && (ifExists || compare.negated || quantifier == "ForAllValues"):
		return Decision{Verdict: Allowed}
	case !has:
		return Decision{Refused, says + " is about a claim that AWS does not read from this issuer's tokens; the keys are " + t.Host + ":sub and " + t.Host + ":aud"}
	case !is:
		return Decision{Depends, says + " is no comparison of text"}
	}
	if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "${") }) {
		return Decision{Depends, says + " has a policy variable"}
	}
	if matched := slices.ContainsFunc(values, func(v string) bool { return compare.match(value, v) }); matched != compare.negated {
		return Decision{Verdict: Allowed}
	}
	return Decision{Refused, fmt.Sprintf("%s is %s, the token has %s%s", says, strings.Join(values, ", "), value, hint(name, value, values))}
}

// null is the operator that asks whether a key is there.
func null(says string, values []string, has bool) Decision {
	if slices.Contains(values, fmt.Sprint(!has)) {
		return Decision{Verdict: Allowed}
	}
	return Decision{Refused, fmt.Sprintf("%s is %s", says, strings.Join(values, ", "))}
}

// hint says which of the usual mistakes it is.
func hint(operator, value string, values []string) string {
	for _, v := range values {
		switch {
		case strings.HasPrefix(operator, "StringEquals") && strings.ContainsAny(v, "*?") && like(value, v):
			return " (StringEquals takes * and ? as they are written: StringLike does not)"
		case strings.EqualFold(v, value):
			return " (they differ in upper and lower case)"
		case strings.ReplaceAll(v, "/", ":") == value || strings.TrimSpace(v) == value:
			return " (they differ in their separators)"
		}
	}
	return ""
}

// value is that of a key in the request: whether the request has it, and whether that is known.
func (t Token) value(key string) (value string, has, known bool) {
	host, claim, _ := cutLast(key, ":")
	switch {
	case strings.EqualFold(host, "aws") || strings.EqualFold(host, "sts") || strings.HasPrefix(strings.ToLower(key), "aws:"):
		return "", false, false
	case !strings.EqualFold(host, t.Host):
		return "", false, true
	case strings.EqualFold(claim, "sub"):
		return t.Subject, true, true
	case strings.EqualFold(claim, "aud"):
		return t.Audience, true, true
	}
	return "", false, true
}

func cutLast(text, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(text, separator); i >= 0 {
		return text[:i], text[i+len(separator):], true
	}
	return text, "", false
}

// like matches IAM's patterns: * is any text, ? any one character.
func like(text, pattern string) bool {
	t, p := []rune(text), []rune(pattern)
	star, mark, i, j := -1, 0, 0, 0
	for i < len(t) {
		switch {
		case j < len(p) && p[j] == '*':
			star, mark, j = j, i, j+1
		case j < len(p) && (p[j] == '?' || p[j] == t[i]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	for j < len(p) && p[j] == '*' {
		j++
	}
	return j == len(p)
}
