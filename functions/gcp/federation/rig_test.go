package federation

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

const issuer = "https://oidc.example/prod-eu1"

var (
	rsaKey   = newKey(rsa.GenerateKey(rand.Reader, 2048))
	ecKey    = newKey(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	otherKey = newKey(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384Key  = newKey(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521Key  = newKey(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
)

// signingKey is a cluster's.
type signingKey struct {
	jwks.Key
	private crypto.Signer
}

func newKey[K crypto.Signer](private K, err error) signingKey {
	if err != nil {
		panic(err)
	}
	key, err := jwks.New(private.Public())
	if err != nil {
		panic(err)
	}
	return signingKey{key, private}
}

func set(keys ...signingKey) jwks.Set {
	union := jwks.Set{}
	for _, key := range keys {
		union = append(union, key.Key)
	}
	return union
}

// token is a pod's, for the provider of that name.
func (k signingKey) token(t *testing.T, provider string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Algorithm()), Key: jose.JSONWebKey{Key: k.private, KeyID: k.ID()},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuer, Subject: "system:serviceaccount:production:payments", Audience: jwt.Audience{iam.Audience(provider)},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// rig is a provider of Google's and ours for it, which does not rest for long.
type rig struct {
	*Provider
	google *iam.Server
	log    *events
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{google: iam.Start(t), log: &events{}}
	r.google.CreateProvider(t, "prod-eu1", issuer)
	r.Provider = r.open(t)
	return r
}

// open is another publisher's side of the same provider.
func (r *rig) open(t *testing.T) *Provider {
	t.Helper()
	p, err := New(t.Context(), Settings{Issuer: issuer, Provider: iam.Name("prod-eu1"), Logger: slog.New(slog.NewJSONHandler(r.log, nil))}, r.google.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	p.pause = func(int) time.Duration { return time.Millisecond }
	return p
}

// keep wants success, and the keys uploaded.
func (r *rig) keep(t *testing.T, changed bool, keys, uploaded jwks.Set) {
	t.Helper()
	got, err := r.Keep(t.Context(), keys)
	if err != nil || got != changed {
		t.Fatalf("changed %t, %v; want %t", got, err, changed)
	}
	found, err := jwks.Parse([]byte(r.google.Keys(r.name)))
	if err != nil || !bytes.Equal(found.Canonical(), uploaded.Canonical()) {
		t.Fatalf("uploaded are %v, %v; want %v", found.IDs(), err, uploaded.IDs())
	}
}

// events are the lines of a log.
type events struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (e *events) Write(line []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var members map[string]any
	if err := json.Unmarshal(line, &members); err != nil {
		return 0, err
	}
	e.lines = append(e.lines, members)
	return len(line), nil
}

// take are the events since the last time, as "LEVEL event".
func (e *events) take() (said []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, line := range e.lines {
		level, _ := line["level"].(string)
		event, _ := line["event"].(string)
		said = append(said, level+" "+event)
	}
	e.lines = nil
	return said
}
