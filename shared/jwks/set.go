package jwks

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	// MaxBytes is the largest JWK Set that is read, and the largest that is published. No cloud documents its own limit; 64 KiB
	// holds 100 RSA-2048 keys.
	MaxBytes = 64 << 10

	// MaxKeys is the most keys that are read, and published at one issuer. Entra reads the first 100, AWS at most 100 of a kind.
	MaxKeys = 80
)

// Set is an ordered JWK Set. In a Set from Parse or Union no two keys share an ID or an SPKI.
type Set []Key

// Parse reads a JWK Set strictly. A key listed twice in the same words counts once, as kube-apiserver lists a key as often as a
// flag names it. The errors are those of this package, and each names the key by its ID or place.
func Parse(data []byte) (Set, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxBytes)
	}
	var w struct {
		Keys *[]jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(data, &w, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, withoutInput(err))
	}
	if w.Keys == nil {
		return nil, fmt.Errorf(`%w: no member "keys"`, ErrMalformed)
	}
	if len(*w.Keys) > MaxKeys {
		return nil, fmt.Errorf("%w: %d keys, at most %d", ErrTooLarge, len(*w.Keys), MaxKeys)
	}
	set := make(Set, 0, len(*w.Keys))
	for i, value := range *w.Keys {
		key, err := ParseKey(value)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		set = append(set, key)
	}
	return distinct(set)
}

// Union is every key of the sets once, sorted by ID. The error is ErrDuplicate: one ID for two keys, or two IDs for one.
func Union(sets ...Set) (Set, error) {
	union, err := distinct(slices.Concat(sets...))
	union.sort()
	return union, err
}

// Encode writes the one canonical form of the set, in its order.
func (s Set) Encode() []byte {
	if s == nil {
		s = Set{}
	}
	data, err := json.Marshal(struct {
		Keys Set `json:"keys"`
	}{s})
	if err != nil {
		panic("jwks: a Key that New accepted can't be written: " + err.Error())
	}
	return data
}

// Canonical is Encode of the sorted set: equal for sets with the same keys.
func (s Set) Canonical() []byte {
	sorted := slices.Clone(s)
	sorted.sort()
	return sorted.Encode()
}

// ByID finds a key by its ID.
func (s Set) ByID(id string) (Key, bool) {
	i := slices.IndexFunc(s, func(k Key) bool { return k.id == id })
	if i < 0 {
		return Key{}, false
	}
	return s[i], true
}

// IDs lists the key IDs in the set's order.
func (s Set) IDs() []string {
	ids := make([]string, len(s))
	for i, key := range s {
		ids[i] = key.id
	}
	return ids
}

func (s Set) sort() { slices.SortFunc(s, func(a, b Key) int { return cmp.Compare(a.id, b.id) }) }

func distinct(keys Set) (Set, error) {
	byID, bySPKI := map[string]Key{}, map[string]Key{}
	set := make(Set, 0, len(keys))
	for _, key := range keys {
		a, sameID := byID[key.id]
		b, sameKey := bySPKI[key.spki]
		switch {
		case sameID && a.Equal(key):
			continue
		case sameID:
			return nil, fmt.Errorf("%w: two different keys have the ID %q", ErrDuplicate, shorten(key.id))
		case sameKey:
			return nil, fmt.Errorf("%w: one key has the IDs %q and %q", ErrDuplicate, shorten(b.id), shorten(key.id))
		}
		byID[key.id], bySPKI[key.spki] = key, key
		set = append(set, key)
	}
	return set, nil
}
