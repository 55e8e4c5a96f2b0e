// Package jwks reads and writes the public signing keys of a Kubernetes cluster as JSON Web Keys (RFC 7517), strictly in and
// canonically out.
//
// What Parse returns is safe to publish: public, of a kind every API server can have (RSA of 2048 to 4096 bits, or an ECDSA key on
// P-256, P-384 or P-521), on its curve, and with no member that could mean something to one reader and something else to another. A
// key is its SubjectPublicKeyInfo: two keys of one SPKI are the same key, whatever they are called.
package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

var (
	// ErrMalformed means that the bytes are not a JWK (Set) in the strict form: bad JSON, duplicate or unknown members,
	// numbers not in their shortest form, an "alg" or "use" that contradicts the key.
	ErrMalformed = errors.New("malformed key")

	// ErrPrivate means that a key carries private members. Whoever sent it has leaked it: handle it as an incident.
	ErrPrivate = errors.New("private key material")

	// ErrSymmetric means a key of type "oct": a shared secret can't be published.
	ErrSymmetric = errors.New("symmetric key")

	// ErrUnsupported means a key type, curve or algorithm that no API server signs with.
	ErrUnsupported = errors.New("unsupported kind of key")

	// ErrWeak means a key that can be forged, or one that common verifiers refuse for its size.
	ErrWeak = errors.New("weak key")

	// ErrDuplicate means two different keys under one key ID, or one key under two IDs.
	ErrDuplicate = errors.New("ambiguous key ID")

	// ErrTooLarge means more than MaxBytes or MaxKeys.
	ErrTooLarge = errors.New("key set too large")
)

const (
	// MinRSABits and MaxRSABits bound the modulus. go-jose, and so Vault, refuses more than 4096.
	MinRSABits = 2048
	MaxRSABits = 4096

	// MaxIDBytes is the longest key ID; an external signer may choose any of up to 1,024 bytes (KEP-740).
	MaxIDBytes = 1024
)

// Key is one public signing key and its key ID. The zero Key is not a key; make one with New or Parse.
type Key struct {
	id        string
	algorithm string
	public    crypto.PublicKey // *rsa.PublicKey or *ecdsa.PublicKey
	spki      string
}

// New makes a Key with the ID that kube-apiserver gives it, base64url(SHA-256(SubjectPublicKeyInfo)). The error is ErrWeak or
// ErrUnsupported.
func New(public crypto.PublicKey) (Key, error) { return NewWithID(public, "") }

// NewWithID makes a Key with an ID that an external signer chose. An empty id is the one New gives.
func NewWithID(public crypto.PublicKey, id string) (Key, error) {
	algorithm, err := algorithmOf(public)
	if err != nil {
		return Key{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	sum := sha256.Sum256(der)
	key := Key{id: id, algorithm: algorithm, public: public, spki: base64.RawURLEncoding.EncodeToString(sum[:])}
	if id == "" {
		key.id = key.spki
	}
	if len(key.id) > MaxIDBytes {
		return Key{}, fmt.Errorf("%w: key ID of %d bytes, at most %d", ErrMalformed, len(key.id), MaxIDBytes)
	}
	return key, nil
}

// ID is the key ID ("kid") that tokens name.
func (k Key) ID() string { return k.id }

// Algorithm is the one algorithm the key signs with (RFC 7518): RS256, ES256, ES384 or ES512. kube-apiserver derives it from the
// key in the same way.
func (k Key) Algorithm() string { return k.algorithm }

// Public is the key itself, an *rsa.PublicKey or *ecdsa.PublicKey. Do not modify it.
func (k Key) Public() crypto.PublicKey { return k.public }

// SPKI identifies the key whatever its ID: base64url(SHA-256(SubjectPublicKeyInfo)), 43 characters.
func (k Key) SPKI() string { return k.spki }

// HasDerivedID reports whether the ID is the one kube-apiserver computes from the key, so that nobody can choose it.
func (k Key) HasDerivedID() bool { return k.id == k.spki }

// Equal reports whether both the key and its ID are the same.
func (k Key) Equal(other Key) bool { return k.spki == other.spki && k.id == other.id }

// Thumbprint is the RFC 7638 thumbprint (SHA-256, base64url), which does not depend on the ID.
func (k Key) Thumbprint() string {
	jwk := jose.JSONWebKey{Key: k.public}
	sum, err := jwk.Thumbprint(crypto.SHA256)
	if err != nil {
		panic("jwks: thumbprint of a key that New accepted: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(sum)
}

func algorithmOf(public crypto.PublicKey) (string, error) {
	switch public := public.(type) {
	case *rsa.PublicKey:
		return "RS256", checkRSA(public)
	case *ecdsa.PublicKey:
		if _, err := public.Bytes(); err != nil {
			return "", fmt.Errorf("%w: not a point on its curve: %w", ErrMalformed, err)
		}
		for name, c := range curves {
			if c.curve == public.Curve {
				return curves[name].algorithm, nil
			}
		}
		return "", fmt.Errorf("%w: curve %s", ErrUnsupported, public.Params().Name)
	}
	return "", fmt.Errorf("%w: %T", ErrUnsupported, public)
}

func checkRSA(public *rsa.PublicKey) error {
	switch bits := public.N.BitLen(); {
	case bits < MinRSABits || bits > MaxRSABits:
		return fmt.Errorf("%w: RSA modulus of %d bits, want %d to %d", ErrWeak, bits, MinRSABits, MaxRSABits)
	case public.N.Bit(0) == 0:
		return fmt.Errorf("%w: even RSA modulus", ErrWeak)
	case public.E < 65537 || public.E%2 == 0:
		return fmt.Errorf("%w: RSA exponent %d, want an odd one of at least 65537", ErrWeak, public.E)
	}
	return nil
}

type curve struct {
	curve     elliptic.Curve
	algorithm string
	size      int // bytes of a coordinate
}

var curves = map[string]curve{
	"P-256": {elliptic.P256(), "ES256", 32},
	"P-384": {elliptic.P384(), "ES384", 48},
	"P-521": {elliptic.P521(), "ES512", 66},
}
