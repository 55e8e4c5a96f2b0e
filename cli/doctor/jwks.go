package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

func jwksChecks() []check { return append(jwksForm(), jwksContent()...) }

// How long a cache may keep the keys: what publishers say is a minute; Cloud Storage's default, and the API server's, an hour.
const (
	longAge    = 5 * time.Minute
	tooLongAge = time.Hour
)

func jwksForm() []check {
	return []check{{
		id: "jwks.status", question: "Can a stranger read the published keys?", needs: []string{"discovery.status"},
		how:    "GET jwks_uri without credentials, following no redirect.",
		remedy: "See what the host answers: `curl -i` the URL.",
		look:   func(e *evidence) finding { return e.jwks.reachedWith() },
	}, {
		id: "jwks.prompt", question: "Are they served fast enough?", needs: []string{"jwks.status"},
		how:    "Times the request. AWS gives up after 5 seconds.",
		remedy: "Serve them from a bucket or a CDN, not from a function that must start first.",
		look:   func(e *evidence) finding { return e.jwks.prompt() },
	}, {
		id: "jwks.type", question: "Is their media type right?", needs: []string{"jwks.status"},
		how:    "application/json, or application/jwk-set+json.",
		remedy: "Let the publisher write the keys, which sets the type; a CDN must not change it.",
		look:   jwksType,
	}, {
		id: "jwks.cache", question: "Do caches let go of them soon?", needs: []string{"jwks.status"},
		how:    "Cache-Control's max-age. Without one Cloud Storage says an hour, and each cache on the way decides for itself.",
		remedy: "Publishers write max-age=60; let the CDN honour it, and set no longer minimum there.",
		look:   jwksCache,
	}, {
		id: "jwks.size", question: "Are they short enough?", needs: []string{"jwks.status"},
		how:    "At most 64 KiB, which every known consumer reads.",
		remedy: "Remove clusters and keys that are out of use, or give each cluster an issuer of its own.",
		look:   jwksSize,
	}, {
		id: "jwks.private", question: "Are only public keys published?", needs: []string{"jwks.size"},
		how:    "Looks for private members and symmetric keys.",
		remedy: incident,
		look:   func(e *evidence) finding { return e.parseTrouble("yes", jwks.ErrPrivate, jwks.ErrSymmetric) },
	}, {
		id: "jwks.weak", question: "Are the published keys strong, and of a size that verifiers take?", needs: []string{"jwks.private"},
		how:    "As keys.weak, for what is published.",
		remedy: "Take the key out where the documents are made, and rotate to RSA-2048.",
		look:   func(e *evidence) finding { return e.parseTrouble("yes", jwks.ErrWeak, jwks.ErrUnsupported) },
	}, {
		id: "jwks.read", question: "Can every consumer read the published keys?", needs: []string{"jwks.weak"},
		how:    "Reads them strictly: one repeated, unknown or ambiguous member and Google refuses the whole set, with a misleading error.",
		remedy: "Let the publisher write them: something else does, or changes them on the way.",
		look:   jwksRead,
	}}
}

func jwksContent() []check {
	return []check{{
		id: "jwks.twice", question: "Is every key published once?", needs: []string{"jwks.read"},
		how:    "Repetitions count against the limits of consumers.",
		remedy: "Let the publisher write the keys; do not copy the API server's.",
		look:   jwksTwice,
	}, {
		id: "jwks.count", question: "Is the number of keys within every consumer's limit?", needs: []string{"jwks.read"},
		how:    fmt.Sprintf("Publishers stop at %d; AWS reads 100 of a type, Entra the first 100, OCI API Gateway %d.", jwks.MaxKeys, ociKeys),
		remedy: "Remove clusters and keys that are out of use, or give each cluster an issuer of its own.",
		look:   jwksCount,
	}, {
		id: "jwks.algorithm", question: "Does every cloud accept what the published keys sign with?", needs: []string{"jwks.read"},
		how:    "As keys.algorithm, for what is published.",
		remedy: "Rotate to an RSA-2048 key (RS256): `kube-iam-assume rotation plan`. With other consumers only, name them with --for.",
		look:   func(e *evidence) finding { return e.accepted(e.published) },
	}, {
		id: "jwks.signing", question: "Is every key published that an API server signs with?", needs: []string{"jwks.read", "tokens.signing-key"},
		how:    "Compares the key IDs in the headers of fresh tokens with what is published: this is what makes a token work or not.",
		remedy: "Is the exporter running, and its publisher accepting (exporter.*, publisher.*)? In a hurry: `kube-iam-assume operate announce` with the cluster's keys.",
		look:   jwksSigning,
	}, {
		id: "jwks.complete", question: "Is every key published that an API server lists?", needs: []string{"jwks.read", "keys.strict"},
		how:    "Compares the keys themselves. One that is listed may sign at any moment.",
		remedy: "Is the exporter running, and its publisher accepting (exporter.*, publisher.*)? A revoked key stays out until it is lifted.",
		look:   jwksComplete,
	}, {
		id: "jwks.others", question: "Whose are the other published keys?", needs: []string{"jwks.complete"},
		how:    "Keys that no API server lists are retiring, announced, or another cluster's. With --data the publisher's state says which.",
		remedy: "Look at `kube-iam-assume history` for when they came and on whose word. If nobody knows: treat it as an incident.",
		look:   otherKeys,
	}, {
		id: "jwks.stable", question: "Does everybody get the same keys?", needs: []string{"jwks.read"},
		how:    "Fetches twice over fresh connections. Two web servers behind one name may have different documents.",
		remedy: "If it lasts longer than max-age, one of the servers or caches behind the name is not kept up to date.",
		look:   jwksStable,
	}, {
		id: "jwks.publication", question: "Did a publisher of this project write them?", needs: []string{"jwks.read"},
		how:    "A publisher ends the document with the number of the publication, in white space.",
		remedy: "Something else writes the documents, or a proxy strips white space. Two writers on one path undo each other's work.",
		look:   jwksPublication,
	}, {
		id: "discovery.algorithms", question: "Does it list the algorithm of every key?", needs: []string{"discovery.members", "jwks.read"},
		how:    "Some consumers take the allowed algorithms from this list and refuse every other token.",
		remedy: "Set algorithms of the issuer in the publisher's settings, and deploy before a key of a new kind is used.",
		look:   discoveryAlgorithms,
	}}
}

func otherKeys(e *evidence) finding {
	status := map[string]string{}
	source := e.original()
	if source != nil {
		for _, c := range source.state.Clusters {
			for _, key := range c.Keys {
				status[key.JWK.ID()] = string(key.Status) + ", cluster " + c.ID
			}
		}
	}
	var known, strange []string
	for _, id := range without(e.published, e.union()) {
		if s, found := status[id]; found {
			known = append(known, id+" ("+s+")")
		} else {
			strange = append(strange, id)
		}
	}
	switch {
	case len(strange) > 0 && source != nil:
		return broken("the publisher's state does not know %s", strings.Join(strange, ", "))
	case len(strange) > 0:
		return ok("%s: retiring, announced, or another cluster's; --data would tell", strings.Join(strange, ", "))
	case len(known) > 0:
		return ok("%s", strings.Join(known, ", "))
	}
	return ok("there are none")
}

func (e *evidence) parseTrouble(good string, sentinels ...error) finding {
	if said := trouble(e.parseErr, sentinels...); said != "" {
		return broken("%s", said)
	}
	return ok("%s", good)
}

func jwksType(e *evidence) finding {
	return e.jwks.mediaType("application/json", "application/jwk-set+json")
}

func jwksCache(e *evidence) finding {
	age, given := e.jwks.maxAge()
	switch {
	case !given:
		return warn("no max-age: each cache on the way decides for itself")
	case age > tooLongAge:
		return broken("max-age is %s: a new key is unknown, and a revoked one accepted, for that long", age)
	case age > longAge:
		return warn("max-age is %s: a new key may be unknown for that long", age)
	}
	return ok("max-age %s", age)
}

func jwksSize(e *evidence) finding {
	if n := len(e.jwks.body); n > jwks.MaxBytes+64 { // a publication ends with its number
		return broken("%d bytes, want at most %d", n, jwks.MaxBytes)
	}
	return ok("%d bytes", len(e.jwks.body))
}

func jwksRead(e *evidence) finding {
	if f := e.parseTrouble(""); f.status == Broken {
		return f
	}
	if len(e.published) == 0 {
		return broken("no key is published, so no token can be verified").doing("The cluster is removed, or its publisher has heard of no key: see publisher.* above.")
	}
	return ok("%d keys", len(e.published))
}

func jwksTwice(e *evidence) finding {
	if said := twice(e.jwks.body); said != "" {
		return warn("%s", said)
	}
	return ok("yes")
}

func jwksCount(e *evidence) finding {
	if n := len(e.published); n > ociKeys {
		return warn("%d keys; OCI API Gateway reads %d", n, ociKeys)
	}
	return ok("%d", len(e.published))
}

func jwksSigning(e *evidence) finding {
	var lacking []string
	for _, id := range e.signers() {
		if _, found := e.published.ByID(id); !found {
			lacking = append(lacking, id+" is not published: every token signed with it is refused")
		}
	}
	return unless(lacking, "%s", strings.Join(e.signers(), ", "))
}

func jwksComplete(e *evidence) finding {
	var lacking []string
	for _, id := range without(e.union(), e.published) {
		lacking = append(lacking, id+" is not published")
	}
	return unless(lacking, "all %d", len(e.union()))
}

func jwksStable(e *evidence) finding {
	keys, err := jwks.Parse(e.again.body)
	switch {
	case e.again.err != nil:
		return broken("the second time: %v", withoutURL(e.again.err))
	case err != nil || string(keys.Canonical()) != string(e.published.Canonical()):
		return warn("the second time the keys were others")
	}
	return ok("twice the same")
}

func jwksPublication(e *evidence) finding {
	n, numbered := rotation.PublicationOf(e.jwks.body)
	source := e.original()
	switch {
	case !numbered:
		return warn("no: the document has no publication number")
	case source != nil && n < source.state.Publication:
		return warn("it is publication %d, the state has %d: a cache on the way", n, source.state.Publication)
	case source != nil && n > source.state.Publication:
		return broken("it is publication %d, the state has only %d: the state is older than what is published", n, source.state.Publication).doing("Run `kube-iam-assume operate recover`.")
	}
	return ok("publication %d", n)
}

func discoveryAlgorithms(e *evidence) finding {
	var lacking []string
	for _, key := range slices.Concat(e.published, e.union()) {
		if !slices.Contains(e.document.Algorithms, key.Algorithm()) {
			lacking = append(lacking, fmt.Sprintf("%s of %s", key.Algorithm(), key.ID()))
		}
	}
	slices.Sort(lacking)
	return unless(slices.Compact(lacking), "%s", strings.Join(e.document.Algorithms, ", "))
}
