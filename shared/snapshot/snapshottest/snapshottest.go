// Package snapshottest makes up clusters whose API servers attest and whose exporters sign, for tests.
package snapshottest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Key is a service account signing key of an API server.
type Key struct {
	jwks.Key
	Private crypto.Signer
}

// NewKey makes a P-256 key, the cheapest that clouds accept.
func NewKey() Key { return keyOf(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))) }

// NewRSAKey makes the kind of key that most distributions have.
func NewRSAKey() Key { return keyOf(must(rsa.GenerateKey(rand.Reader, 2048))) }

func keyOf(private crypto.Signer) Key {
	return Key{Key: must(jwks.New(private.Public())), Private: private}
}

// Cluster is a cluster as its tokens describe it.
type Cluster struct {
	ID, Issuer     string
	ServiceAccount string // "namespace/name" of the exporter
}

// Claims are those of a token the API server would give the cluster's exporter for a snapshot key.
func (c Cluster) Claims(snapshotKey jwks.Key, at time.Time) map[string]any {
	return map[string]any{
		"iss": c.Issuer, "sub": snapshot.Subject(c.ServiceAccount), "aud": []string{snapshot.AttestationAudience(snapshotKey)},
		"iat": at.Unix(), "nbf": at.Unix(), "exp": at.Add(10 * time.Minute).Unix(),
		"kubernetes.io": map[string]any{"namespace": "kube-iam-assume", "serviceaccount": map[string]any{"name": "cluster-exporter", "uid": "6f"}},
	}
}

// Attest makes an attestation signed by one of the cluster's keys.
func (c Cluster) Attest(by Key, snapshotKey jwks.Key, at time.Time) string {
	return Token(by, c.Claims(snapshotKey, at))
}

// Token signs any claims in the way of an API server.
func Token(by Key, claims map[string]any) string {
	signer := must(jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(by.Algorithm()), Key: jose.JSONWebKey{Key: by.Private, KeyID: by.ID()},
	}, nil))
	return must(jwt.Signed(signer).Claims(claims).Serialize())
}

// Exporter is one replica: a snapshot key and the last sequence number.
type Exporter struct {
	Cluster
	Signer   *snapshot.Signer
	Audience []string
	seq      int64
}

// NewExporter starts a replica for a publisher.
func (c Cluster) NewExporter(publisher string) *Exporter {
	return &Exporter{Cluster: c, Signer: must(snapshot.NewSigner()), Audience: []string{publisher}}
}

// Snapshot is a complete one of a single API server that lists these keys, attested by those.
func (e *Exporter) Snapshot(at time.Time, keys []Key, attestedBy ...Key) snapshot.Snapshot {
	e.seq = max(e.seq+1, at.UnixMilli())
	s := snapshot.Snapshot{
		Cluster: e.ID, Audience: e.Audience, Issuer: e.Issuer, Seq: e.seq,
		IssuedAt: at, Expires: at.Add(snapshot.Lifetime), APIServers: snapshot.APIServers{Listed: 1, Read: 1}, Exporter: "test",
	}
	for _, key := range keys {
		s.Keys = append(s.Keys, key.Key)
	}
	for _, key := range attestedBy {
		s.Attestations = append(s.Attestations, e.Attest(key, e.Signer.Key(), at))
	}
	return s
}

// Sign is the envelope of a snapshot.
func (e *Exporter) Sign(s snapshot.Snapshot) []byte { return must(e.Signer.Sign(s)) }

// Send is Sign of Snapshot.
func (e *Exporter) Send(at time.Time, keys []Key, attestedBy ...Key) []byte {
	return e.Sign(e.Snapshot(at, keys, attestedBy...))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
