package rotation

import (
	"cmp"
	"slices"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// tailBytes is the length of the publication number in white space: 32 bits and a newline.
const tailBytes = 33

// Render is the JWKS to publish: the keys in use first, as some consumers read only the first hundred, each status sorted by ID.
//
// It ends with the publication number, the most significant bit first, a space for 0 and a tab for 1, and a newline. So the bytes of a
// publication never recur, also when its keys do, and a store that numbers versions by content can't mistake a new document for an
// old one. To a consumer it is a JWK Set followed by white space.
func Render(state State) []byte {
	document := state.Published().Encode()
	for bit := 31; bit >= 0; bit-- {
		document = append(document, " \t"[state.Publication>>bit&1])
	}
	return append(document, '\n')
}

// PublicationOf reads the publication number back, and reports whether there is one.
func PublicationOf(document []byte) (publication uint32, ok bool) {
	if len(document) < tailBytes || document[len(document)-1] != '\n' {
		return 0, false
	}
	for _, b := range document[len(document)-tailBytes : len(document)-1] {
		switch b {
		case ' ':
			publication <<= 1
		case '\t':
			publication = publication<<1 | 1
		default:
			return 0, false
		}
	}
	return publication, true
}

// Published is every key of the state in the order of the document.
func (s State) Published() jwks.Set {
	var keys []Key
	for _, c := range s.Clusters {
		keys = append(keys, c.Keys...)
	}
	rank := map[Status]int{Current: 0, Announced: 1, Retiring: 2}
	slices.SortStableFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(rank[a.Status], rank[b.Status]), cmp.Compare(a.JWK.ID(), b.JWK.ID()))
	})
	set := make(jwks.Set, len(keys))
	for i, key := range keys {
		set[i] = key.JWK
	}
	return set
}
