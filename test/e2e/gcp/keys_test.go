package gcp

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/party"
)

// TestKeysAtGoogle rotates a real API server's key where nobody fetches the documents: the function writes the keys into the Workload Identity
// provider, which exchanges every token all the time, until the operator revokes the key that signed it.
func TestKeysAtGoogle(t *testing.T) {
	c := newCloud(t)
	google := iam.Start(t)
	c.issuer = "https://oidc.example.com/" + clusterID // which nobody serves
	provider := google.CreateProvider(t, clusterID, c.issuer)
	c.more = ", private: true, workloadIdentityProvider: " + provider
	c.environment = google.Platform(t).Environment()

	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	cluster := kube.Start(t, kube.Options{Issuer: c.issuer, Keys: kube.Keys{Sign: a}})
	cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	cluster.CreateServiceAccount(t, party.Namespace, party.Account)
	c.deploy(a, "Webhook", "Reconcile", "Operate")
	c.schedule()
	kubelet := c.export(cluster)
	c.eventually("a snapshot is accepted", func() bool { return c.said("Webhook", `"event":"snapshot.accepted"`, "attested by") })
	relying := party.Rely(t, cluster, party.Options{Audience: iam.Audience(provider), Verify: func(token string) error { return google.Exchange(provider, token) }})

	server := cluster.Servers[0]
	with := func(sign *kube.Key, verify ...*kube.Key) kube.Config {
		return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{c.issuer}}
	}
	server.Restart(t, with(a, a, b))
	c.eventually("Google has the new key", func() bool { return strings.Contains(google.Provider(provider).Oidc.JwksJson, b.ID()) })
	server.Restart(t, with(b, a, b))
	c.eventually("the new key has signed", func() bool { return relying.Seen(b) })
	if err := kubelet.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.Restart(t, with(b, b))
	c.eventually("the old key is retiring", func() bool { return c.said("Webhook", `"event":"key.retiring"`, a.ID()) })
	before := relying.Verified()
	c.eventually("tokens of both keys go on being exchanged", func() bool { return relying.Verified() > before+10 })
	tokens := relying.Hold(2)

	c.order(fmt.Sprintf(`{"statement": {"issuer": %q, "cluster": %q, "action": "revoke", "keyIDs": [%q], "reason": "stolen"}}`, c.issuer, clusterID, a.ID()))
	if err := google.Exchange(provider, tokens[a.ID()]); err == nil {
		t.Error("a token of the revoked key is exchanged")
	}
	if err := google.Exchange(provider, tokens[b.ID()]); err != nil {
		t.Errorf("a token of the other key is not exchanged: %v", err)
	}
	if c.said("Reconcile", `"readback.`) || c.said("Reconcile", `"target.failed"`) || c.said("Webhook", `"target.failed"`) {
		t.Error("something is alarmed")
	}
}

// order is the operator's, to the door that Google's IAM opens for him alone.
func (c *cloud) order(order string) {
	c.Helper()
	response, err := http.Post(c.services["Operate"].url, "application/json", strings.NewReader(order))
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	if answer, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK || !strings.Contains(string(answer), `"accepted"`) {
		c.Fatalf("the order: %s %s, %v", response.Status, answer, err)
	}
}
