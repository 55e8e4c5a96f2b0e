package e2e

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// A rotation by an external signer alone: no API server is restarted, and the key IDs are the signer's. The exporter asks an API server
// for its attestation as ever, and gets it by whatever key the signer signs with at that moment.
func TestRotationByAnExternalSigner(t *testing.T) {
	t.Parallel()
	if !kube.KnowsSigners(t) {
		return
	}
	w := newWorld(t)
	a := kube.NamedKey{ID: "signing/2026-a", Key: kube.NewKey(t, kube.RSA2048)}
	b := kube.NamedKey{ID: "signing/2026-b", Key: kube.NewKey(t, kube.P256)}
	signer := kube.StartSigner(t, kube.SignerKeys{Sign: a.ID, Keys: []kube.NamedKey{a}})
	config := kube.Config{Issuers: []string{w.issuer("prod")}, Signer: signer}
	c := w.startWith(kube.Options{Servers: []kube.Config{config, config}})
	enrolled := enrollment.Cluster{
		ID: "prod", Generation: 1, ExporterServiceAccount: account, ExternalKeyIDs: true,
		BootstrapKeys: jwks.Set{must(jwks.NewWithID(a.Key.Public(), a.ID))},
	}
	w.deploy(w.enroll("prod", false, enrolled))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested by "+a.ID, `"read":2`)
	k := w.watch(c, w.consumer("prod"))

	for _, step := range []struct{ from, to kube.NamedKey }{{a, b}, {b, a}} {
		signer.Set(t, kube.SignerKeys{Sign: step.from.ID, Keys: []kube.NamedKey{step.from, step.to}})
		w.waitPublishedID("prod", step.to.ID, true)
		w.log.clear()
		signer.Set(t, kube.SignerKeys{Sign: step.to.ID, Keys: []kube.NamedKey{step.from, step.to}})
		w.waitLog("snapshot.accepted", "attested by "+step.to.ID)
		if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
			t.Fatal(err)
		}
		signer.Set(t, kube.SignerKeys{Sign: step.to.ID, Keys: []kube.NamedKey{step.to}})
		w.waitLog("key.retiring", step.from.ID)
		time.Sleep(3 * pollInterval)
	}
	k.noFailures(t)
}

// A cluster that moves from key files to an external signer: the signer goes on with the old key under the ID that Kubernetes gave it, and
// adds one under an ID of its own. Until the enrollment says so, publishers take no such ID, and the exporter says what to do.
func TestMoveToAnExternalSigner(t *testing.T) {
	t.Parallel()
	if !kube.KnowsSigners(t) {
		return
	}
	w := newWorld(t)
	old, own := kube.NewKey(t, kube.RSA2048), kube.NamedKey{ID: "signing/2026-a", Key: kube.NewKey(t, kube.P256)}
	keys := kube.SignerKeys{Sign: old.ID(), Keys: []kube.NamedKey{{ID: old.ID(), Key: old}}}
	signer := kube.StartSigner(t, keys)
	c := w.start(1, "prod", kube.Keys{Sign: old})
	enrolled := cluster("prod", old)
	w.deploy(w.enroll("prod", false, enrolled))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	first := w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested by "+old.ID())
	k := w.watch(c, w.consumer("prod"))

	c.Servers[0].Restart(t, kube.Config{Issuers: []string{w.issuer("prod")}, Signer: signer})
	keys.Keys = append(keys.Keys, own)
	signer.Set(t, keys)
	w.waitLog("SnapshotRefused", "key-id", "set keyIDs: external")
	w.noneBut("prod", old)
	enrolled.ExternalKeyIDs = true
	w.deploy(w.enroll("prod", false, enrolled))
	first.stop() // it would wait a minute before it tries again
	w.export(c, "prod", "prod", kubelet)
	w.waitPublishedID("prod", own.ID, true)
	w.log.clear()
	keys.Sign = own.ID
	signer.Set(t, keys)
	w.waitLog("snapshot.accepted", "attested by "+own.ID)
	k.noFailures(t)
}

// A cluster with an external signer that was enrolled by the IDs Kubernetes would have given its keys: nobody who vouches is known, which
// looks like a rotation that was not announced, and the exporter names the other cause.
func TestExternalSignerEnrolledByDerivedIDs(t *testing.T) {
	t.Parallel()
	if !kube.KnowsSigners(t) {
		return
	}
	w := newWorld(t)
	a := kube.NamedKey{ID: "signing/2026-a", Key: kube.NewKey(t, kube.RSA2048)}
	signer := kube.StartSigner(t, kube.SignerKeys{Sign: a.ID, Keys: []kube.NamedKey{a}})
	c := w.startWith(kube.Options{Servers: []kube.Config{{Issuers: []string{w.issuer("prod")}, Signer: signer}}})
	w.deploy(w.enroll("prod", false, cluster("prod", a.Key)))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	first := w.export(c, "prod", "prod", kubelet)
	w.waitLog("SnapshotRefused", "not-believed", "keyIDs: external")
	w.noneBut("prod", a.Key)

	enrolled := cluster("prod")
	enrolled.Generation, enrolled.ExternalKeyIDs, enrolled.BootstrapKeys = 2, true, jwks.Set{must(jwks.NewWithID(a.Key.Public(), a.ID))}
	w.deploy(w.enroll("prod", false, enrolled))
	first.stop() // it would wait a minute before it tries again
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested by "+a.ID)
	w.waitPublishedID("prod", a.ID, true)
}
