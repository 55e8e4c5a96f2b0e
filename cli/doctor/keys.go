package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const incident = "Handle it as an incident: whoever read it can forge tokens. Rotate the signing key now, and `kube-iam-assume revoke` the old one."

func keyChecks() []check {
	return []check{{
		id: "keys.private", question: "Does every API server publish public keys only?", needs: []string{"cluster.discovery"},
		how:    "Reads /openid/v1/jwks of each and looks for private members and symmetric keys.",
		remedy: incident,
		look:   keysPrivate,
	}, {
		id: "keys.weak", question: "Are the keys strong enough, and of a size that verifiers take?", needs: []string{"keys.private"},
		how:    "RSA of 2048 to 4096 bits with the exponent 65537 or more, or P-256, P-384, P-521. Vault and other users of go-jose refuse longer moduli.",
		remedy: "Rotate to an RSA-2048 key, which is accepted everywhere: `kube-iam-assume rotation plan`.",
		look:   keysWeak,
	}, {
		id: "keys.strict", question: "Is every API server's JWKS one that publishers accept?", needs: []string{"keys.weak"},
		how:    "Reads it as strictly as a publisher: no unknown members, no ambiguous IDs, algorithm and use that fit the key.",
		remedy: "If an external signer provides the keys, correct what it provides; else something rewrites the answers of the API server.",
		look:   func(e *evidence) finding { return e.keyTrouble("strict JSON, keys without ambiguity") },
	}, {
		id: "keys.twice", question: "Is every key listed once?", needs: []string{"keys.strict"},
		how:    "Kubernetes lists a key as often as --service-account-key-file names it, which eats into the limits of consumers.",
		remedy: "Name every key file once, and no file that has the same key as another.",
		look:   keysTwice,
	}, {
		id: "keys.same", question: "Do all API servers list the same keys?", needs: []string{"keys.strict"},
		how:    "Compares the sets. While they differ, one API server may refuse tokens that another issued.",
		remedy: "Normal during a rotation: finish it. Otherwise give every API server the same --service-account-key-file flags; on kubeadm copy sa.pub and sa.key to every control plane node.",
		look:   sameKeys,
	}, {
		id: "keys.count", question: "Is the number of keys within every limit?", needs: []string{"keys.strict"},
		how:    fmt.Sprintf("A publisher takes at most %d of a cluster; OCI API Gateway reads 10.", rotation.MaxKeysPerCluster),
		remedy: "Take keys that sign nothing any more off the --service-account-key-file flags.",
		look:   keysCount,
	}, {
		id: "keys.ids", question: "Are key IDs the ones that Kubernetes derives from the keys?", needs: []string{"keys.strict"},
		how:    "A derived ID can't be chosen by an attacker. External signers (KEP-740) choose theirs.",
		remedy: "With an external signer set keyIDs: external in the cluster's enrollment. Without one something rewrites the JWKS.",
		look:   derivedIDs,
	}, {
		id: "keys.algorithm", question: "Does every cloud accept what the keys sign with?", needs: []string{"keys.strict"},
		how:    "RS256 is accepted everywhere. Google documents RS256 and ES256, Entra RS256 only; AWS and Vault also take ES384 and ES512. Names those of --for, or all.",
		remedy: "Rotate to an RSA-2048 key (RS256): `kube-iam-assume rotation plan`. With other consumers only, name them with --for.",
		look:   algorithmsFit,
	}}
}

const ociKeys = 10

// keyTrouble complains of what is among the sentinels; without any, of every error.
func (e *evidence) keyTrouble(good string, sentinels ...error) finding {
	return unless(e.perServer(func(r apiserver.Reading) string { return trouble(r.KeysErr, sentinels...) }), "%s", good)
}

func trouble(err error, sentinels ...error) string {
	match := len(sentinels) == 0 || slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
	if err == nil || !match {
		return ""
	}
	return err.Error()
}

// twice says which keys a JWKS has more than once in the same words.
func twice(body []byte) string {
	var set struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return ""
	}
	seen, repeated := map[string]int{}, 0
	for _, key := range set.Keys {
		if seen[string(key)]++; seen[string(key)] == 2 {
			repeated++
		}
	}
	if repeated == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d entries are repetitions", repeated, len(set.Keys))
}

func sameKeys(e *evidence) finding {
	union := e.union()
	return softly(unless(e.perServer(func(r apiserver.Reading) string {
		lacking := without(union, r.Keys)
		if len(lacking) == 0 {
			return ""
		}
		return "it lacks " + strings.Join(lacking, ", ")
	}), "%s", strings.Join(union.IDs(), ", ")))
}

// without lists the IDs of the keys that are not in the other set.
func without(keys, others jwks.Set) []string {
	var ids []string
	for _, key := range keys {
		if !slices.ContainsFunc(others, key.Equal) {
			ids = append(ids, key.ID())
		}
	}
	return ids
}

func derivedIDs(e *evidence) finding {
	var foreign []string
	for _, key := range e.union() {
		if !key.HasDerivedID() {
			foreign = append(foreign, fmt.Sprintf("%q", key.ID()))
		}
	}
	switch enrolled, found := e.enrolled(); {
	case len(foreign) == 0:
		return ok("all of them")
	case found && enrolled.ExternalKeyIDs:
		return ok("no, and the enrollment says keyIDs: external")
	case found:
		return broken("%s, and the enrollment has no keyIDs: external, so publishers refuse every snapshot", strings.Join(foreign, ", "))
	}
	return warn("not %s", strings.Join(foreign, ", "))
}

// accepts are the algorithms that each consumer documents.
var accepts = map[string][]string{
	"aws":    {"RS256", "ES256", "ES384", "ES512"},
	"google": {"RS256", "ES256"},
	"entra":  {"RS256"},
	"vault":  {"RS256", "ES256", "ES384", "ES512"},
}

func algorithmsFit(e *evidence) finding { return e.accepted(e.union()) }

// accepted judges the algorithms of keys by what the consumers document.
func (e *evidence) accepted(keys jwks.Set) finding {
	var complaints []string
	for _, consumer := range e.consumers() {
		for _, key := range keys {
			if !slices.Contains(accepts[consumer], key.Algorithm()) {
				complaints = append(complaints, fmt.Sprintf("%s does not document %s (key %s)", consumer, key.Algorithm(), key.ID()))
			}
		}
	}
	f := unless(complaints, "%s accept them", strings.Join(e.consumers(), ", "))
	if len(e.options.For) == 0 { // nobody said who the consumers are
		return softly(f)
	}
	return f
}

func keysPrivate(e *evidence) finding {
	return e.keyTrouble("public keys only", jwks.ErrPrivate, jwks.ErrSymmetric)
}

func keysWeak(e *evidence) finding {
	return e.keyTrouble("strong, and of a common size", jwks.ErrWeak, jwks.ErrUnsupported)
}

func keysTwice(e *evidence) finding {
	return softly(unless(e.perServer(func(r apiserver.Reading) string { return twice(r.Body) }), "yes"))
}

func keysCount(e *evidence) finding {
	switch n := len(e.union()); {
	case n == 0:
		return broken("no API server lists a key").doing("The signing key is not listed by itself: name its public half with --service-account-key-file too.")
	case n > rotation.MaxKeysPerCluster:
		return broken("%d keys; publishers refuse more than %d", n, rotation.MaxKeysPerCluster)
	case n > ociKeys:
		return warn("%d keys; OCI API Gateway reads %d", n, ociKeys)
	default:
		return ok("%d", n)
	}
}
