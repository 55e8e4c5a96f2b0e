package jwks

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk holds the only members that are read or written: the most that Google's Workload Identity Federation allows in an
// uploaded set, and what every consumer needs.
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	N         string `json:"n,omitzero"`
	E         string `json:"e,omitzero"`
	Curve     string `json:"crv,omitzero"`
	X         string `json:"x,omitzero"`
	Y         string `json:"y,omitzero"`
}

// MarshalJSON writes the one canonical form: all members, in the order of type jwk, without white space.
func (k Key) MarshalJSON() ([]byte, error) {
	w := jwk{ID: k.id, Use: "sig", Algorithm: k.algorithm}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		w.Type = "RSA"
		w.N = encodeBytes(public.N.Bytes())
		w.E = encodeBytes(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4 || x || y
		if err != nil {
			return nil, err
		}
		size := (len(point) - 1) / 2
		w.Type, w.Curve = "EC", public.Params().Name
		w.X, w.Y = encodeBytes(point[1:1+size]), encodeBytes(point[1+size:])
	default:
		return nil, fmt.Errorf("%w: %T", ErrUnsupported, k.public)
	}
	return json.Marshal(w)
}

// UnmarshalJSON is ParseKey.
func (k *Key) UnmarshalJSON(data []byte) (err error) {
	*k, err = ParseKey(data)
	return err
}

// ParseKey reads one JWK. "use" and "alg" may be missing; what is there must be right. The errors are those of this package but
// ErrDuplicate.
func ParseKey(data []byte) (Key, error) {
	if len(data) > MaxBytes {
		return Key{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxBytes)
	}
	var w jwk
	if err := decodeMembers(data, &w); err != nil {
		return Key{}, err
	}
	key, err := w.key()
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", shorten(w.ID), err)
	}
	return key, nil
}

// decodeMembers looks at the names before the values, so that a private key is called one whatever else is wrong with it.
func decodeMembers(data []byte, w *jwk) error {
	var members map[string]jsontext.Value // duplicates are an error
	if err := json.Unmarshal(data, &members); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, withoutInput(err))
	}
	for name := range members {
		switch name {
		case "d", "p", "q", "dp", "dq", "qi", "oth", "priv":
			return fmt.Errorf("%w: member %q", ErrPrivate, name)
		}
	}
	if string(members["kty"]) == `"oct"` || members["k"] != nil {
		return fmt.Errorf("%w: type oct can't be published", ErrSymmetric)
	}
	if err := json.Unmarshal(data, w, json.RejectUnknownMembers(true)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, withoutInput(err))
	}
	return nil
}

func (w jwk) key() (Key, error) {
	if w.ID == "" {
		return Key{}, fmt.Errorf("%w: no key ID", ErrMalformed)
	}
	if w.Use != "" && w.Use != "sig" {
		return Key{}, fmt.Errorf("%w: use %q, want sig", ErrMalformed, shorten(w.Use))
	}
	key, err := w.public()
	if err != nil {
		return Key{}, err
	}
	if w.Algorithm != "" && w.Algorithm != key.algorithm {
		return Key{}, fmt.Errorf("%w: algorithm %q on a key for %s", ErrMalformed, shorten(w.Algorithm), key.algorithm)
	}
	return key, nil
}

func (w jwk) public() (Key, error) {
	switch {
	case w.Type == "RSA" && w.Curve == "" && w.X == "" && w.Y == "":
		return w.rsa()
	case w.Type == "EC" && w.N == "" && w.E == "":
		return w.ec()
	case w.Type == "RSA", w.Type == "EC":
		return Key{}, fmt.Errorf("%w: members of another type of key", ErrMalformed)
	}
	return Key{}, fmt.Errorf("%w: type %q", ErrUnsupported, shorten(w.Type))
}

func (w jwk) rsa() (Key, error) {
	n, err := decodeNumber("n", w.N)
	if err != nil {
		return Key{}, err
	}
	e, err := decodeNumber("e", w.E)
	if err != nil {
		return Key{}, err
	}
	if e.BitLen() > 31 {
		return Key{}, fmt.Errorf("%w: RSA exponent of %d bits, at most 31", ErrUnsupported, e.BitLen())
	}
	return NewWithID(&rsa.PublicKey{N: n, E: int(e.Int64())}, w.ID)
}

func (w jwk) ec() (Key, error) {
	c, ok := curves[w.Curve]
	if !ok {
		return Key{}, fmt.Errorf("%w: curve %q", ErrUnsupported, shorten(w.Curve))
	}
	point := make([]byte, 1, 1+2*c.size)
	point[0] = 4 // SEC 1: uncompressed
	for _, coordinate := range []string{w.X, w.Y} {
		b, err := decodeBytes(coordinate)
		if err != nil || len(b) != c.size {
			return Key{}, fmt.Errorf("%w: coordinate is not base64url of %d bytes", ErrMalformed, c.size)
		}
		point = append(point, b...)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(c.curve, point)
	if err != nil {
		return Key{}, fmt.Errorf("%w: not a point on %s", ErrMalformed, w.Curve)
	}
	return NewWithID(public, w.ID)
}

// decodeNumber reads a Base64urlUInt (RFC 7518 section 2), which has no leading zero octets.
func decodeNumber(member, s string) (*big.Int, error) {
	b, err := decodeBytes(s)
	if err != nil || len(b) == 0 || b[0] == 0 {
		return nil, fmt.Errorf("%w: %q is not a number in base64url without leading zeros", ErrMalformed, member)
	}
	return new(big.Int).SetBytes(b), nil
}

// decodeBytes is strict where Go's decoder is not: it also refuses line breaks.
func decodeBytes(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, ErrMalformed
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

func encodeBytes(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// withoutInput keeps where a JSON error is and drops what was there: it may be a private key on its way into a log.
func withoutInput(err error) error {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		return fmt.Errorf("unexpected value or member at byte %d", semantic.ByteOffset)
	case errors.As(err, &syntactic):
		return fmt.Errorf("not strict JSON at byte %d", syntactic.ByteOffset)
	}
	return errors.New("not strict JSON")
}

func shorten(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
