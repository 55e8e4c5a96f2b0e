package e2e

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// A swap in one step, with no overlap: the API server forgets the old key and signs with the new one. Every replica holds an API token
// signed by the old key, as the kubelet gave it, which the server now refuses; the kubelet brings a new one at 80 % of its life. The
// gap that is ours is from then to the published key.
func TestSwapInOneStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	keys := make([]*kube.Key, 5)
	for i := range keys {
		keys[i] = kube.NewKey(t, kube.RSA2048)
	}
	c := w.start(1, "prod", kube.Keys{Sign: keys[0]})
	w.deploy(w.enroll("prod", false, cluster("prod", keys[0])))
	s := &swaps{world: w, cluster: c, kubelet: c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)}
	s.one = w.export(c, "prod", "prod", s.kubelet)
	w.waitLog("snapshot.accepted", "attested")

	// Staying up, the snapshot key is remembered.
	s.swap(keys[1])
	s.renew()
	s.publishedWithin(keys[1], 2*pollInterval)

	// Restarted, nobody trusted vouches for it, until the operator says who is to be trusted.
	s.one.stop()
	s.swap(keys[2])
	s.renew()
	s.one = w.export(c, "prod", "prod", s.kubelet)
	w.waitLog("SnapshotRefused", "not-believed", "operate enroll")
	if _, ok := w.published("prod").ByID(keys[2].ID()); ok {
		t.Fatal("a key was published on nobody's word")
	}
	w.operate(rotation.Statement{Issuer: w.issuer("prod"), Cluster: "prod", Action: rotation.Enroll, Keys: set(keys[2])})
	w.waitPublished("prod", keys[2], true)
	w.waitLog("key.retiring", keys[1].ID())
	w.log.clear()
	w.waitLog("snapshot.accepted", "attested by "+keys[2].ID())

	// Announced before: no gap, and it recovers by itself also when restarted.
	w.operate(rotation.Statement{Issuer: w.issuer("prod"), Cluster: "prod", Action: rotation.Announce, Keys: set(keys[3])})
	k := w.watch(c, w.consumer("prod"))
	s.one.stop()
	s.swap(keys[3])
	s.renew()
	w.log.clear()
	s.one = w.export(c, "prod", "prod", s.kubelet)
	w.waitLog("key.current", keys[3].ID())
	k.noFailures(t)

	// Two replicas, one of them restarted in the middle: the other's key is remembered.
	two := w.export(c, "prod", "prod", s.kubelet)
	w.log.clear()
	w.waitLog("snapshot.accepted", "attested by "+keys[3].ID())
	time.Sleep(2 * pollInterval)
	s.one.stop()
	s.swap(keys[4])
	s.one = w.export(c, "prod", "prod", s.kubelet)
	s.renew()
	s.publishedWithin(keys[4], 2*pollInterval)
	w.log.clear()
	w.waitLog("snapshot.accepted", "attested by "+keys[4].ID())
	two.stop()
}

type swaps struct {
	*world
	cluster *kube.Cluster
	kubelet *kube.ProjectedToken
	one     *replica
	swapped time.Time // when the first token of the new key could be had
	renewed time.Time
}

func (s *swaps) swap(to *kube.Key) {
	s.Helper()
	s.cluster.Servers[0].Restart(s.T, s.config("prod", to, to))
	if _, err := mint(s.Context(), s.cluster, 0); err != nil {
		s.Fatal(err)
	}
	s.swapped = time.Now()
}

func (s *swaps) renew() {
	s.Helper()
	if err := s.kubelet.Renew(s.Context()); err != nil {
		s.Fatal(err)
	}
	s.renewed = time.Now()
}

// publishedWithin reports the gap, and holds our part of it to a number of polls: reading and sending, and the exporter's back-off.
func (s *swaps) publishedWithin(key *kube.Key, most time.Duration) {
	s.Helper()
	at := s.waitPublished("prod", key, true)
	s.Logf("published %s after the first token with the new key, %s after the kubelet renewed the exporter's token; a poll is %s",
		at.Sub(s.swapped).Round(time.Millisecond), at.Sub(s.renewed).Round(time.Millisecond), pollInterval)
	if gap := at.Sub(s.renewed); gap > most {
		s.Errorf("the gap that is ours is %s, want at most %s", gap, most)
	}
}

// The same on three servers, one at a time: no two of them know a common key, so each refuses the tokens of the others for a while. What
// fails at a consumer is what was signed with the new key before anybody could have told him.
func TestSwapInOneStepOfThreeServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	c := w.start(3, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	s := &swaps{world: w, cluster: c, kubelet: c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)}
	s.one = w.export(c, "prod", "prod", s.kubelet)
	w.waitLog("snapshot.accepted", "attested", `"read":3`)
	k := w.watch(c, w.consumer("prod"))

	s.swap(b)
	s.renew()
	s.publishedWithin(b, 3*pollInterval)
	told := time.Now().Add(refetch)
	for _, server := range c.Servers[1:] {
		server.Restart(t, w.config("prod", b, b))
	}
	w.waitLog("key.retiring", a.ID())
	w.noneBut("prod", a, b)
	k.stop()
	early := 0
	for _, f := range k.failures {
		if f.keyID != b.ID() || f.at.After(told) {
			t.Errorf("a failure that a published key can't explain: %s", f)
		}
		early++
	}
	t.Logf("%d verifications, %d failures, all of the new key before it was published", k.verified, early)
}
