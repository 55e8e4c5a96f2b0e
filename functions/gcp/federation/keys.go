package federation

import (
	"cmp"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// split tells the keys Google verifies with from the others.
func split(keys jwks.Set) (usable, others jwks.Set) {
	for _, key := range keys {
		switch key.Algorithm() {
		case "RS256", "ES256":
			usable = append(usable, key)
		default:
			others = append(others, key)
		}
	}
	return usable, others
}

// equivalent reports whether two JWK Sets say the same of the same keys, in whatever order and layout. A member too many or too few is a
// difference: Google documents the members a key must have, and may stumble over another set.
func equivalent(a, b string) bool {
	ours, ok := members(a)
	if !ok {
		return false
	}
	theirs, ok := members(b)
	return ok && slices.EqualFunc(ours, theirs, maps.Equal)
}

// members reads a set as the members of its keys, sorted by key ID. It is not ok if the set is not strict JSON, or anything else is in it.
func members(set string) ([]map[string]string, bool) {
	if len(set) > maxAnswer {
		return nil, false
	}
	var w struct {
		Keys []map[string]string `json:"keys"`
	}
	if json.Unmarshal([]byte(set), &w, json.RejectUnknownMembers(true)) != nil || w.Keys == nil {
		return nil, false
	}
	slices.SortStableFunc(w.Keys, func(a, b map[string]string) int { return cmp.Compare(a["kid"], b["kid"]) })
	return w.Keys, true
}
