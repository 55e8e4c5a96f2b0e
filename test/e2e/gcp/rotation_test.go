package gcp

import (
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/party"
)

const audience = "https://iam.googleapis.com/projects/111122223333/locations/global/workloadIdentityPools/clusters/providers/" + clusterID

// TestRotation rotates a real API server's key, with a relying party that verifies all the time and never fails.
func TestRotation(t *testing.T) {
	c := newCloud(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	cluster := kube.Start(t, kube.Options{Issuer: c.issuer, Keys: kube.Keys{Sign: a}})
	cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	cluster.CreateServiceAccount(t, party.Namespace, party.Account)
	c.deploy(a, "Webhook", "Reconcile")
	c.schedule()
	if !c.publishes(a) {
		t.Fatal("the enrolled key is not published before the first snapshot")
	}
	kubelet := c.export(cluster)
	c.eventually("a snapshot is accepted", func() bool { return c.said("Webhook", `"event":"snapshot.accepted"`, "attested by") })
	relying := party.Rely(t, cluster, party.Options{Issuer: c.issuer, Audience: audience, Client: c.front.Client()})

	server := cluster.Servers[0]
	with := func(sign *kube.Key, verify ...*kube.Key) kube.Config {
		return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{c.issuer}}
	}
	server.Restart(t, with(a, a, b)) // it knows the new key
	c.eventually("the new key is published", func() bool { return c.publishes(b) })
	server.Restart(t, with(b, a, b)) // it signs with it
	c.eventually("the new key has signed", func() bool { return relying.Seen(b) })
	if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		t.Fatal(err)
	}
	server.Restart(t, with(b, b)) // it has forgotten the old one
	c.eventually("the old key is retiring", func() bool { return c.said("Webhook", `"event":"key.retiring"`, a.ID()) })
	before := relying.Verified()
	c.eventually("tokens of both keys go on being verified", func() bool { return relying.Verified() > before+10 })
	relying.Hold(2)

	c.schedule()
	if !c.publishes(a) || !c.publishes(b) {
		t.Error("a retiring key is not published")
	}
	if c.said("Reconcile", `"readback.`) || c.said("Reconcile", `"document.repaired"`) {
		t.Error("what strangers read is not what the bucket has")
	}
}
