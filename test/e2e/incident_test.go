package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// thief holds a cluster's leaked key and makes everything an API server and an exporter would make with it.
type thief struct {
	*world
	cluster, path string
	key           *kube.Key
	signer        *snapshot.Signer
}

func (w *world) thief(cluster, path string, key *kube.Key) *thief {
	return &thief{w, cluster, path, key, must(snapshot.NewSigner())}
}

// send posts a complete snapshot of some keys, attested with the leaked key, as far in the future as it may be.
func (h *thief) send(keys jwks.Set) (status int) {
	h.Helper()
	return h.sendAs(account, keys)
}

func (h *thief) sendAs(serviceAccount string, keys jwks.Set) (status int) {
	h.Helper()
	now := time.Now()
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: h.key.Private(), KeyID: h.key.ID()}}, nil))
	token := must(jwt.Signed(signer).Claims(map[string]any{
		"iss": h.issuer(h.path), "sub": snapshot.Subject(serviceAccount), "aud": []string{snapshot.AttestationAudience(h.signer.Key())},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}).Serialize())
	envelope := must(h.signer.Sign(snapshot.Snapshot{
		Cluster: h.cluster, Audience: []string{"test"}, Issuer: h.issuer(h.path), Seq: now.Add(snapshot.MaxSkew - time.Minute).UnixMilli(),
		IssuedAt: now, Expires: now.Add(snapshot.Lifetime), APIServers: snapshot.APIServers{Listed: 1, Read: 1},
		Keys: keys, Attestations: []string{token}, Exporter: "thief",
	}))
	response, err := h.web.Client().Post(h.web.URL+"/v1/snapshots", "application/jose", bytes.NewReader(envelope))
	if err != nil {
		h.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestLeakedKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	c := w.start(1, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested")

	leaked := time.Now().Truncate(time.Second)
	rogue := must(jwks.New(&must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).PublicKey))
	h := w.thief("prod", "prod", a)
	if status := h.send(append(set(a), rogue)); status != http.StatusOK {
		t.Fatalf("%d: whoever has a listed key can speak for the cluster; the point is to see it and to get rid of him", status)
	}
	w.waitLog("key.added", rogue.ID(), "WARN")

	w.operate(rotation.Statement{Issuer: w.issuer("prod"), Cluster: "prod", Action: rotation.Announce, Keys: set(b)})
	c.Servers[0].Restart(t, w.config("prod", b, b))
	if err := kubelet.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.operate(rotation.Statement{
		Issuer: w.issuer("prod"), Cluster: "prod", Action: rotation.Revoke, KeyIDs: []string{a.ID()}, WithWord: true, Since: leaked,
	})
	if ids := w.published("prod").IDs(); len(ids) != 1 || ids[0] != b.ID() {
		t.Fatalf("published after the revocation: %v, want only %s", ids, b.ID())
	}
	if status := h.send(append(set(a), rogue)); status != http.StatusForbidden {
		t.Errorf("the thief's snapshot was answered %d", status)
	}
	w.waitLog("key.current", b.ID()) // his sequence numbers do not lock the exporter out
	w.log.clear()
	w.waitLog("snapshot.accepted", "attested by "+b.ID())
	w.noneBut("prod", b)
}

func (w *world) noneBut(path string, keys ...*kube.Key) {
	w.Helper()
	if got := w.published(path); len(got) != len(keys) {
		w.Errorf("published: %v", got.IDs())
	}
	for _, key := range keys {
		if _, ok := w.published(path).ByID(key.ID()); !ok {
			w.Errorf("key %s is not published", key.ID())
		}
	}
}

func TestSharedIssuerOfTwoClusters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	one, two := w.start(1, "fleet", kube.Keys{Sign: a}), w.start(1, "fleet", kube.Keys{Sign: b})
	first, second := cluster("one", a), cluster("two", b)
	second.ExporterServiceAccount = "elsewhere/cluster-exporter" // no exporter of it runs: its bootstrap keys count
	w.deploy(w.enroll("fleet", true, first))
	w.noneBut("fleet", a)
	w.deploy(w.enroll("fleet", true, first, second)) // a member is added
	w.export(one, "one", "fleet", one.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600))
	w.waitLog("snapshot.accepted", `"cluster":"one"`)
	for _, c := range []*kube.Cluster{one, two} {
		if err := w.consumer("fleet").verify(t.Context(), must(mint(t.Context(), c, 0))); err != nil {
			t.Errorf("a member's token: %v", err)
		}
	}

	// Member two, with its own real key, can neither claim nor alter nor retire the other's.
	before := w.published("fleet").Encode()
	h := w.thief("two", "fleet", b)
	if status := h.sendAs("elsewhere/cluster-exporter", append(set(b), set(a)...)); status != http.StatusForbidden {
		t.Errorf("a claim of the other's key was answered %d", status)
	}
	w.waitLog("snapshot.refused", `"code":"owned"`)
	altered := must(jwks.NewWithID(kube.NewKey(t, kube.RSA2048).Public(), a.ID()))
	if status := h.sendAs("elsewhere/cluster-exporter", append(set(b), altered)); status != http.StatusForbidden {
		t.Errorf("another key under the other's ID was answered %d", status)
	}
	if status := h.sendAs("elsewhere/cluster-exporter", set(b)); status != http.StatusOK {
		t.Errorf("its own keys were answered %d", status)
	}
	if !bytes.Equal(before, w.published("fleet").Encode()) {
		t.Error("a member changed the other's keys")
	}

	second.Removed = true
	w.deploy(w.enroll("fleet", true, first, second)) // a member is removed
	w.waitLog("key.retiring", b.ID())
	if err := w.consumer("fleet").verify(t.Context(), must(mint(t.Context(), one, 0))); err != nil {
		t.Errorf("the remaining member's token: %v", err)
	}
}

// A rolling change of --service-account-issuer, first to be both and then to the new one, under the eyes of a consumer of each.
func TestRollingChangeOfTheIssuer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := kube.NewKey(t, kube.RSA2048)
	c := w.start(3, "old", kube.Keys{Sign: a})
	w.deploy(w.enroll("old", false, cluster("prod", a)), w.enroll("new", false, enrollment.Cluster{
		ID: "prod-new", Generation: 1, ExporterServiceAccount: account, BootstrapKeys: set(a),
	}))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "old", kubelet)
	w.export(c, "prod-new", "new", kubelet)
	w.waitLog("NoAPIServerHasTheIssuer", w.issuer("new"))
	k := w.watch(c, w.consumer("old"), w.consumer("new"))
	for _, s := range c.Servers {
		s.Restart(t, kube.Config{Keys: kube.Keys{Sign: a}, Issuers: []string{w.issuer("new"), w.issuer("old")}})
	}
	w.waitLog("snapshot.accepted", `"cluster":"prod-new"`, `"read":3`)
	time.Sleep(2 * pollInterval)
	k.noFailures(t)
	w.noneBut("old", a)
	w.noneBut("new", a)
}
