package chart_test

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// The installed chart in a cluster whose keys are an external signer's: they have its names, and change while nothing restarts. No token
// fails, although a replica is lost in the middle of each rotation.
func TestInstalledWithAnExternalSigner(t *testing.T) {
	t.Parallel()
	if !kube.KnowsSigners(t) {
		return
	}
	keys := []kube.NamedKey{
		{ID: "signing/2026-a", Key: kube.NewKey(t, kube.RSA2048)}, {ID: "kms:alias/oidc v2", Key: kube.NewKey(t, kube.P256)}, {ID: "c", Key: kube.NewKey(t, kube.RSA2048)},
	}
	w := newWorld(t)
	signer := kube.StartSigner(t, kube.SignerKeys{Sign: keys[0].ID, Keys: keys[:1]})
	cluster := enrolled(must(jwks.NewWithID(keys[0].Key.Public(), keys[0].ID)))
	cluster.ExternalKeyIDs = true
	w.begin(cluster, w.signed(0, signer), w.signed(1, signer))
	w.publisher = w.start(w.newPod(w.replicaSet("publisher", "publisher")))
	w.waitLog(w.publisher, "server.listening")
	w.waitForRights()
	set := w.replicaSet(namespace, account)
	replicas := w.startReplicas(set)

	tokens := w.watch()
	for i, to := range keys[1:] {
		from, survivor, began := keys[i], replicas[1-i], time.Now()
		signer.Set(t, kube.SignerKeys{Sign: from.ID, Keys: []kube.NamedKey{from, to}})
		w.lose(replicas[i])
		w.waitPublished(to.ID, "external signer, a replica killed", began)
		signer.Set(t, kube.SignerKeys{Sign: to.ID, Keys: []kube.NamedKey{from, to}})
		replicas[i] = w.start(w.newPod(set))
		w.waitLog(w.publisher, "snapshot.accepted", "attested by "+to.ID)
		w.renew(survivor) // whoever drops a key waits for the tokens that it signed
		signer.Set(t, kube.SignerKeys{Sign: to.ID, Keys: []kube.NamedKey{to}})
		w.waitLog(w.publisher, "key.retiring", from.ID)
		if err := w.published(t.Context(), from.ID); err != nil {
			t.Errorf("the old key is lost: %v", err)
		}
	}
	verified, failed := tokens.end()
	t.Logf("two rotations by the signer: %d tokens accepted, %d refused", verified, len(failed))
	if len(failed) > 0 || verified < 20 {
		t.Errorf("%d tokens accepted, refused: %v", verified, failed)
	}
	w.renew(replicas...)
	w.rightsAreUsed(namespace)
	w.doctorFindsNothing(replicas)
	w.enrollReads(true, keys[2].ID)
}

// signed is an API server that has no keys of its own.
func (w *world) signed(server int, signer *kube.Signer) kube.Config {
	w.Helper()
	return kube.Config{Issuers: []string{issuer}, Signer: signer, Flags: w.hardened(server)}
}
