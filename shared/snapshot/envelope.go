package snapshot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Signer signs snapshots with one snapshot key, which exists in memory only. It is safe for concurrent use.
type Signer struct {
	key    jwks.Key
	signer jose.Signer
}

// NewSigner makes up a snapshot key.
func NewSigner() (*Signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return SignerFor(private)
}

// SignerFor signs with a key that is kept elsewhere and that the publisher's enrollment pins.
func SignerFor(private *ecdsa.PrivateKey) (*Signer, error) {
	key, err := Key(&private.PublicKey)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: key.ID()}},
		(&jose.SignerOptions{}).WithType(Type))
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, signer: signer}, nil
}

// Key names a snapshot key by its RFC 7638 thumbprint.
func Key(public *ecdsa.PublicKey) (jwks.Key, error) {
	key, err := jwks.New(public)
	if err != nil {
		return jwks.Key{}, err
	}
	return jwks.NewWithID(public, key.Thumbprint())
}

// Key is the public half of the signer's snapshot key.
func (s *Signer) Key() jwks.Key { return s.key }

// Sign makes an envelope of a snapshot, which gets the signer's key and its times cut to whole seconds. The error is ErrTooLarge
// or ErrForm.
func (s *Signer) Sign(snapshot Snapshot) ([]byte, error) {
	snapshot.Key = s.key
	snapshot.Keys = slices.Clone(snapshot.Keys)
	if err := snapshot.checkForm(); err != nil {
		return nil, err
	}
	data, err := snapshot.encode()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForm, err)
	}
	jws, err := s.signer.Sign(data)
	if err != nil {
		return nil, err
	}
	envelope, err := jws.CompactSerialize()
	if err != nil {
		return nil, err
	}
	if len(envelope) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(envelope), MaxBytes)
	}
	return []byte(envelope), nil
}

// Opened is a snapshot whose form is right. Nothing in it is to be believed before Check and Believe.
type Opened struct {
	Snapshot
	Digest string // SHA-256 of the JWS signing input, base64url: the identity of the statement, however often it is signed

	envelope string
}

// Open reads an envelope and checks its size and form, and nothing that costs a signature. The errors are ErrTooLarge, ErrForm,
// ErrHeader, and those of package jwks.
func Open(envelope []byte) (Opened, error) {
	if len(envelope) > MaxBytes {
		return Opened{}, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxBytes)
	}
	parts := strings.Split(string(envelope), ".")
	if len(parts) != 3 {
		return Opened{}, fmt.Errorf("%w: not a JWS in compact serialization", ErrForm)
	}
	data, err := decodePart(parts[1])
	if err != nil {
		return Opened{}, err
	}
	snapshot, err := decode(data)
	if err != nil {
		return Opened{}, err
	}
	if parts[0] != header(snapshot.Key) {
		return Opened{}, fmt.Errorf(`%w: want exactly "alg", "kid" of the key in "cnf", and "typ"`, ErrHeader)
	}
	if signature, err := decodePart(parts[2]); err != nil || len(signature) != 64 {
		return Opened{}, fmt.Errorf("%w: the signature is not an ES256 one", ErrForm)
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	return Opened{Snapshot: snapshot, Digest: base64.RawURLEncoding.EncodeToString(sum[:]), envelope: string(envelope)}, nil
}

// Expected is what a snapshot must say of itself to concern a publisher.
type Expected struct {
	Cluster   string
	Publisher string
	Issuer    string
}

// Check compares names and times and verifies the envelope's signature, in this order. The errors are ErrCluster, ErrAudience,
// ErrIssuer, ErrExpired, ErrFuture, ErrTooLong and ErrSignature.
func (o Opened) Check(expected Expected, now time.Time) error {
	switch {
	case o.Cluster != expected.Cluster:
		return fmt.Errorf("%w: want %q", ErrCluster, expected.Cluster)
	case !slices.Contains(o.Audience, expected.Publisher):
		return fmt.Errorf("%w: this one is %q", ErrAudience, expected.Publisher)
	case o.Issuer != expected.Issuer:
		return fmt.Errorf("%w: want %q exactly", ErrIssuer, expected.Issuer)
	}
	if err := o.checkTimes(now); err != nil {
		return err
	}
	jws, err := jose.ParseSignedCompact(o.envelope, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForm, err)
	}
	if _, err := jws.Verify(o.Key.Public()); err != nil {
		return ErrSignature
	}
	return nil
}

func (o Opened) checkTimes(now time.Time) error {
	switch {
	case !now.Before(o.Expires):
		return fmt.Errorf("%w: at %s, now is %s", ErrExpired, o.Expires.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case o.Expires.Sub(o.IssuedAt) > MaxLifetime:
		return fmt.Errorf("%w: %s, at most %s", ErrTooLong, o.Expires.Sub(o.IssuedAt), MaxLifetime)
	case o.IssuedAt.After(now.Add(MaxSkew)):
		return fmt.Errorf("%w: made at %s, now is %s", ErrFuture, o.IssuedAt.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	case o.Seq > now.Add(MaxSkew).UnixMilli():
		return fmt.Errorf("%w: sequence number %d is a later time than the clock allows", ErrFuture, o.Seq)
	}
	return nil
}

// header is the only protected header there is: RFC 8725 recommends an explicit type and an algorithm that nobody chooses.
func header(key jwks.Key) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","kid":"` + key.ID() + `","typ":"` + Type + `"}`))
}

func decodePart(part string) ([]byte, error) {
	if strings.ContainsAny(part, "\r\n") { // Go's decoder ignores them
		return nil, fmt.Errorf("%w: line break in base64url", ErrForm)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, fmt.Errorf("%w: not strict base64url", ErrForm)
	}
	return data, nil
}

// formError keeps a decision of package jwks and drops whatever the JSON library says of the input's text.
func formError(err error) error {
	for _, decision := range []error{
		jwks.ErrPrivate, jwks.ErrSymmetric, jwks.ErrUnsupported, jwks.ErrWeak, jwks.ErrDuplicate, jwks.ErrMalformed, jwks.ErrTooLarge,
	} {
		if errors.Is(err, decision) {
			return fmt.Errorf("%w: %w", ErrForm, decision)
		}
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		return fmt.Errorf("%w: unexpected value or member at byte %d", ErrForm, semantic.ByteOffset)
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return fmt.Errorf("%w: not strict JSON at byte %d", ErrForm, syntactic.ByteOffset)
	}
	return ErrForm
}
