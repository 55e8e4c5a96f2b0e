package kube

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A KeyKind is a kind of service account key kube-apiserver accepts.
type KeyKind string

// The kinds, with the algorithm their tokens are signed with.
const (
	RSA2048 KeyKind = "RSA-2048" // RS256
	RSA4096 KeyKind = "RSA-4096" // RS256
	P256    KeyKind = "P-256"    // ES256
	P384    KeyKind = "P-384"    // ES384
	P521    KeyKind = "P-521"    // ES512
)

// A Key is a service account key pair.
type Key struct {
	private crypto.Signer
	pkix    []byte // the public half, DER SubjectPublicKeyInfo
}

// NewKey generates a key.
func NewKey(t testing.TB, kind KeyKind) *Key {
	t.Helper()
	private, err := generate(kind)
	if err != nil {
		t.Fatalf("generate a %s key: %v", kind, err)
	}
	pkix, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatalf("encode a %s key: %v", kind, err)
	}
	return &Key{private: private, pkix: pkix}
}

func generate(kind KeyKind) (crypto.Signer, error) {
	switch kind {
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case RSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	case P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case P521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	return nil, fmt.Errorf("kube-apiserver accepts no %q keys", kind)
}

// ID is the key ID Kubernetes gives the key: base64url, without padding, of the SHA-256 of its SubjectPublicKeyInfo.
func (k *Key) ID() string {
	hash := sha256.Sum256(k.pkix)
	return base64.RawURLEncoding.EncodeToString(hash[:])
}

// Public is the public half, an *rsa.PublicKey or *ecdsa.PublicKey.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// Private is the key itself, for a test that forges tokens.
func (k *Key) Private() crypto.Signer { return k.private }

// PublicPEM is the public half as a PUBLIC KEY block.
func (k *Key) PublicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.pkix})
}

// PrivatePEM is the key as a PKCS #8 PRIVATE KEY block.
func (k *Key) PrivatePEM() ([]byte, error) { return privatePEM(k.private) }

func privatePEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// flags writes the keys into a folder and returns the flags that make kube-apiserver use them.
func (k Keys) flags(folder string) ([]string, error) {
	private, err := k.Sign.PrivatePEM()
	if err != nil {
		return nil, fmt.Errorf("encode signing key %s: %w", k.Sign.ID(), err)
	}
	signing := filepath.Join(folder, "signing.key")
	if err := os.WriteFile(signing, private, 0o600); err != nil {
		return nil, fmt.Errorf("write the signing key: %w", err)
	}
	flags := []string{"--service-account-signing-key-file=" + signing}
	verify := k.Verify
	if len(verify) == 0 {
		verify = []*Key{k.Sign}
	}
	for _, key := range verify {
		file := filepath.Join(folder, key.ID()+".pub")
		if err := os.WriteFile(file, key.PublicPEM(), 0o600); err != nil {
			return nil, fmt.Errorf("write a public key: %w", err)
		}
		flags = append(flags, "--service-account-key-file="+file)
	}
	return flags, nil
}
