package standin

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Key is a service account signing key.
type Key struct {
	jwks.Key
	private crypto.Signer
}

// NewKey names a private key as Kubernetes does.
func NewKey(private crypto.Signer) (*Key, error) {
	key, err := jwks.New(private.Public())
	return &Key{key, private}, err
}

// NewRSAKey makes the kind of key that most distributions have.
func NewRSAKey() (*Key, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return NewKey(private)
}

// NewECKey makes a P-256 key.
func NewECKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return NewKey(private)
}
