package e2e

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// start runs a cluster whose issuer is the world's, with the exporter's and a workload's service accounts.
func (w *world) start(servers int, path string, keys kube.Keys) *kube.Cluster {
	w.Helper()
	return w.startWith(kube.Options{APIServers: servers, Issuer: w.issuer(path), Keys: keys})
}

func (w *world) startWith(options kube.Options) *kube.Cluster {
	w.Helper()
	c := kube.Start(w.T, options)
	c.InstallExporter(w.T, "kube-iam-assume", "cluster-exporter")
	c.CreateServiceAccount(w.T, "app", "payments")
	return c
}

func (w *world) config(path string, sign *kube.Key, verify ...*kube.Key) kube.Config {
	return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{w.issuer(path)}}
}

func TestRotationOfOneServerAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	c := w.start(1, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	w.waitPublished("prod", a, true) // before any snapshot: the bootstrap keys
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested")
	k := w.watch(c, w.consumer("prod"))

	server := c.Servers[0]
	for _, keys := range [][2]*kube.Key{{a, b}, {b, a}} { // A → B, and B → A again
		from, to := keys[0], keys[1]
		server.Restart(t, w.config("prod", from, from, to))
		w.waitPublished("prod", to, true)
		server.Restart(t, w.config("prod", to, from, to))
		if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
			t.Fatal(err)
		}
		server.Restart(t, w.config("prod", to, to))
		w.waitLog("key.retiring", from.ID())
		time.Sleep(3 * pollInterval)
	}
	k.noFailures(t)
	w.reconcile()
	if w.log.has("readback.") {
		t.Error("the public documents differ from the bucket's")
	}
}

func TestRollingRotationOfThreeServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	c := w.start(3, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	first := w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested")
	k := w.watch(c, w.consumer("prod"))

	for _, s := range c.Servers {
		s.Restart(t, w.config("prod", a, a, b))
	}
	w.waitPublished("prod", b, true)
	for i, s := range c.Servers {
		if i == 1 { // one is killed in the middle, and the exporter restarted
			s.Kill()
			first.stop()
			w.export(c, "prod", "prod", kubelet)
			s.Start(t, w.config("prod", b, a, b))
			continue
		}
		s.Restart(t, w.config("prod", b, a, b))
	}
	if err := kubelet.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Servers {
		s.Restart(t, w.config("prod", b, b))
	}
	w.waitLog("key.retiring", a.ID())
	time.Sleep(3 * pollInterval)
	k.noFailures(t)
}

// An API server that is down for the whole of a rotation of the others knows nothing of it when it returns: it signs with the old key,
// which is published as long as the retention says, and refuses the exporter, whose token is by the new one. The exporter says so, and
// that is all that is wrong until somebody gives the server the others' keys.
func TestServerThatWasDownForTheWholeRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	c := w.start(3, "prod", kube.Keys{Sign: a})
	w.deploy(w.enroll("prod", false, cluster("prod", a)))
	kubelet := c.Kubelet(t, 0, "kube-iam-assume", "cluster-exporter", 600)
	w.export(c, "prod", "prod", kubelet)
	w.waitLog("snapshot.accepted", "attested", `"read":3`)
	k := w.watch(c, w.consumer("prod"))

	others, away := c.Servers[:2], c.Servers[2]
	away.Kill()
	for _, s := range others {
		s.Restart(t, w.config("prod", a, a, b))
	}
	w.waitPublished("prod", b, true)
	for _, s := range others {
		s.Restart(t, w.config("prod", b, a, b))
	}
	if err := kubelet.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range others {
		s.Restart(t, w.config("prod", b, b))
	}
	w.waitLog("key.retiring", a.ID())
	w.noneBut("prod", a, b)
	w.log.clear()
	away.Start(t, away.Config())
	w.waitLog("APIServerUnreachable", away.Address(), "it does not know the key that signed this exporter's API token")
	w.waitLog("snapshot.accepted", `"listed":3`, `"read":2`)
	w.noneBut("prod", a, b)
	w.log.clear()
	away.Restart(t, w.config("prod", b, b))
	w.waitLog("snapshot.accepted", `"listed":3`, `"read":3`)
	k.noFailures(t)
}
