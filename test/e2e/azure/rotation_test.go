package azure

import (
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/party"
)

const audience = "api://AzureADTokenExchange"

// TestRotation rotates a real API server's key while the platform moves the app to another machine, with a relying party that verifies all
// the time and never fails.
func TestRotation(t *testing.T) {
	c := newCloud(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	cluster := kube.Start(t, kube.Options{Issuer: c.issuer, Keys: kube.Keys{Sign: a}})
	cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	cluster.CreateServiceAccount(t, party.Namespace, party.Account)
	c.enroll(a)
	c.deploy()
	c.schedule()
	if !c.publishes(a) {
		t.Fatal("the enrolled key is not published before the first snapshot")
	}
	kubelet := c.export(cluster)
	c.eventually("a snapshot is accepted", func() bool { return c.said(`"event":"snapshot.accepted"`, "attested by") })
	relying := party.Rely(t, cluster, party.Options{
		Issuer: c.issuer, Audience: audience, Client: c.storage.HTTPClient(), Algorithms: []string{oidc.RS256}, // all that Entra takes
	})

	server := cluster.Servers[0]
	with := func(sign *kube.Key, verify ...*kube.Key) kube.Config {
		return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{c.issuer}}
	}
	server.Restart(t, with(a, a, b)) // it knows the new key
	c.eventually("the new key is published", func() bool { return c.publishes(b) })
	c.deploy()
	server.Restart(t, with(b, a, b)) // it signs with it
	c.eventually("the new key has signed", func() bool { return relying.Seen(b) })
	if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		t.Fatal(err)
	}
	server.Restart(t, with(b, b)) // it has forgotten the old one
	c.eventually("the old key is retiring", func() bool { return c.said(`"event":"key.retiring"`, a.ID()) })
	before := relying.Verified()
	c.eventually("tokens of both keys go on being verified", func() bool { return relying.Verified() > before+10 })
	relying.Hold(2)

	c.schedule()
	if !c.publishes(a) || !c.publishes(b) {
		t.Error("a retiring key is not published")
	}
	for _, event := range []string{`"event":"readback.`, `"event":"document.repaired"`, `"event":"invocation.failed"`, `"event":"settings.invalid"`} {
		if c.said(event) {
			t.Errorf("the log has %s", event)
		}
	}
}
