package kube_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// An API server without keys of its own signs with what the signer has at that moment, under the signer's names, and publishes no hidden
// key; both change without a restart.
func TestSigner(t *testing.T) {
	t.Parallel()
	if !kube.KnowsSigners(t) {
		return
	}
	var keys []kube.NamedKey
	for id, kind := range map[string]kube.KeyKind{"rsa": kube.RSA2048, "vault:transit/p256 v2": kube.P256, "p384": kube.P384, "p521": kube.P521} {
		keys = append(keys, kube.NamedKey{ID: id, Key: kube.NewKey(t, kind)})
	}
	signer := kube.StartSigner(t, kube.SignerKeys{Sign: keys[0].ID, Keys: keys[:1]})
	cluster := kube.Start(t, kube.Options{Servers: []kube.Config{{Issuers: []string{kube.DefaultIssuer}, Signer: signer}}})
	cluster.CreateServiceAccount(t, "app", "payments")
	for i, key := range keys {
		previous := keys[(i+len(keys)-1)%len(keys)]
		previous.Hidden = true
		signer.Set(t, kube.SignerKeys{Sign: key.ID, Keys: []kube.NamedKey{previous, key}})
		raw := cluster.Token(t, 0, "app", "payments", []string{audience}, 600)
		parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512})
		if err != nil {
			t.Fatal(err)
		}
		if err := parsed.Claims(key.Key.Public(), &jwt.Claims{}); err != nil || parsed.Headers[0].KeyID != key.ID {
			t.Errorf("a token by %q, not %q: %v", parsed.Headers[0].KeyID, key.ID, err)
		}
		waitForKeys(t, cluster, key.ID)
	}
}

// waitForKeys waits until the API server publishes exactly these.
func waitForKeys(t *testing.T, cluster *kube.Cluster, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(cluster.JWKS(t, 0), &set); err != nil {
			t.Fatal(err)
		}
		if got = setIDs(set); slices.Equal(got, want) {
			return
		}
	}
	t.Fatalf("published: %q, want %q", got, want)
}
