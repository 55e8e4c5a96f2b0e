package vectors

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// now is the publisher's clock in every vector.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// lab makes the vectors' envelopes: three honest clusters and whatever an attacker may have.
type lab struct {
	a, b, x           snapshottest.Key // of prod: a enrolled, b came later; x is nobody's
	blueKey, greenKey snapshottest.Key
	private           *ecdsa.PrivateKey // prod's snapshot key
	prod, blue, green *snapshottest.Exporter
	external          *snapshottest.Exporter // of a cluster with an external signer
	steps             []step                 // what happened before
}

func newLab() *lab {
	l := &lab{
		a: snapshottest.NewRSAKey(), b: snapshottest.NewKey(), x: snapshottest.NewKey(),
		blueKey: snapshottest.NewKey(), greenKey: snapshottest.NewKey(),
		private: must(newPrivate()),
	}
	shared := "https://oidc.example.com/shared"
	l.prod = exporter("prod", "https://oidc.example.com/prod")
	l.prod.Signer = must(snapshot.SignerFor(l.private))
	l.blue, l.green, l.external = exporter("blue", shared), exporter("green", shared), exporter("external", "https://oidc.example.com/external")
	return l
}

func exporter(id, issuer string) *snapshottest.Exporter {
	return snapshottest.Cluster{ID: id, Issuer: issuer, ServiceAccount: id + "/cluster-exporter"}.NewExporter("publisher")
}

func (l *lab) settings() settings {
	of := func(e *snapshottest.Exporter, bootstrap snapshottest.Key) cluster {
		return cluster{ID: e.ID, Generation: 1, ServiceAccount: e.ServiceAccount, BootstrapKeys: jwks.Set{bootstrap.Key}, ExternalKeyIDs: e == l.external}
	}
	return settings{Publisher: "publisher", Issuers: []issuer{
		{URL: l.prod.Issuer, Path: "prod", Clusters: []cluster{of(l.prod, l.a)}},
		{URL: l.blue.Issuer, Path: "shared", Clusters: []cluster{of(l.blue, l.blueKey), of(l.green, l.greenKey)}},
		{URL: l.external.Issuer, Path: "external", Clusters: []cluster{of(l.external, l.x)}},
	}}
}

// begin is what happened before every attack: each cluster has sent a snapshot.
func (l *lab) begin() []step {
	at := now.Add(-time.Minute)
	return []step{
		{Envelope: string(l.prod.Send(at, []snapshottest.Key{l.a, l.b}, l.a))},
		{Envelope: string(l.blue.Send(at, []snapshottest.Key{l.blueKey}, l.blueKey))},
		{Envelope: string(l.green.Send(at, []snapshottest.Key{l.greenKey}, l.greenKey))},
	}
}

// first happens before the attack.
func (l *lab) first(envelope []byte) { l.steps = append(l.steps, step{Envelope: string(envelope)}) }

func (l *lab) operator(s rotation.Statement) {
	s.Issuer, s.Cluster, s.Reason = l.prod.Issuer, l.prod.ID, "attack catalogue"
	l.steps = append(l.steps, step{Statement: &s})
}

// honest is a snapshot of prod against which nothing can be said.
func (l *lab) honest() snapshot.Snapshot {
	return l.prod.Snapshot(now, []snapshottest.Key{l.a, l.b}, l.b)
}

// edit signs an honest snapshot with a change.
func (l *lab) edit(change func(*snapshot.Snapshot)) []byte {
	s := l.honest()
	change(&s)
	return l.prod.Sign(s)
}

// raw signs any header and payload with prod's snapshot key; empty keeps the honest one.
func (l *lab) raw(header, payload string) []byte {
	parts := strings.Split(string(l.prod.Sign(l.honest())), ".")
	if header != "" {
		parts[0] = base64.RawURLEncoding.EncodeToString([]byte(header))
	}
	if payload != "" {
		parts[1] = base64.RawURLEncoding.EncodeToString([]byte(payload))
	}
	return l.seal(parts[0] + "." + parts[1])
}

// seal signs an input as ES256.
func (l *lab) seal(input string) []byte {
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, l.private, digest[:])
	if err != nil {
		panic(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return []byte(input + "." + base64.RawURLEncoding.EncodeToString(signature))
}

// payload is the text of an honest snapshot's payload with replacements, as pairs of old and new.
func (l *lab) payload(oldNew ...string) string {
	parts := strings.Split(string(l.prod.Sign(l.honest())), ".")
	text := string(must(base64.RawURLEncoding.DecodeString(parts[1])))
	changed := strings.NewReplacer(oldNew...).Replace(text)
	if changed == text {
		panic("nothing was replaced by " + strings.Join(oldNew, ", "))
	}
	return changed
}

// rewrite signs an honest snapshot whose payload has replacements.
func (l *lab) rewrite(oldNew ...string) []byte { return l.raw("", l.payload(oldNew...)) }

// keys signs an honest snapshot with other JSON for its keys.
func (l *lab) keys(text string) []byte {
	s := l.honest()
	return l.rewrite(string(s.Keys.Canonical()), `{"keys":[`+text+`]}`)
}

// header is that of an honest snapshot, with replacements.
func (l *lab) header(oldNew ...string) []byte {
	honest := `{"alg":"ES256","kid":"` + l.prod.Signer.Key().ID() + `","typ":"` + snapshot.Type + `"}`
	changed := strings.NewReplacer(oldNew...).Replace(honest)
	if changed == honest {
		panic("nothing was replaced")
	}
	return l.raw(changed, "")
}

// attested is an honest snapshot but for its one attestation, whose claims are changed.
func (l *lab) attested(by snapshottest.Key, change map[string]any) []byte {
	claims := l.prod.Claims(l.prod.Signer.Key(), now)
	maps.Copy(claims, change)
	return l.withAttestations(snapshottest.Token(by, claims))
}

func (l *lab) withAttestations(tokens ...string) []byte {
	return l.edit(func(s *snapshot.Snapshot) { s.Attestations = tokens })
}

// stolen is an attestation that names prod's trusted key b, signed with something else.
func (l *lab) stolen(algorithm jose.SignatureAlgorithm, key any) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: l.b.ID()}}, nil))
	return must(jwt.Signed(signer).Claims(l.prod.Claims(l.prod.Signer.Key(), now)).Serialize())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newPrivate() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
