package rotation_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const publisher = "prod"

var (
	start      = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	prod       = snapshottest.Cluster{ID: "prod", Issuer: "https://oidc.example.com/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}
	other      = snapshottest.Cluster{ID: "other", Issuer: prod.Issuer, ServiceAccount: "elsewhere/cluster-exporter"}
	a, b, c, x = snapshottest.NewRSAKey(), snapshottest.NewKey(), snapshottest.NewKey(), snapshottest.NewKey()
)

// world is a publisher's decisions without its storage.
type world struct {
	*testing.T
	state  rotation.State
	now    time.Time
	policy rotation.Policy
}

func newWorld(t *testing.T, bootstrap ...snapshottest.Key) *world {
	t.Helper()
	w := &world{T: t, now: start, policy: rotation.Policy{Issuer: prod.Issuer, Retention: 48 * time.Hour}}
	w.policy.Members = []rotation.Member{{Cluster: prod.ID, Generation: 1, ServiceAccount: prod.ServiceAccount, Bootstrap: set(bootstrap...)}}
	w.reconcile()
	return w
}

func set(keys ...snapshottest.Key) jwks.Set {
	var s jwks.Set
	for _, key := range keys {
		s = append(s, key.Key)
	}
	return s
}

func keys(k ...snapshottest.Key) []snapshottest.Key { return k }

func (w *world) reconcile() rotation.Decision {
	w.Helper()
	d, err := rotation.Reconcile(w.state, w.now, w.policy)
	if err != nil {
		w.Fatal(err)
	}
	w.state = d.State
	return d
}

func (w *world) send(e *snapshottest.Exporter, s snapshot.Snapshot) (rotation.Decision, error) {
	w.Helper()
	opened, err := snapshot.Open(e.Sign(s))
	if err != nil {
		w.Fatal(err)
	}
	if err := opened.Check(snapshot.Expected{Cluster: e.ID, Publisher: publisher, Issuer: e.Issuer}, w.now); err != nil {
		w.Fatal(err)
	}
	before := rotation.Render(w.state)
	d, err := rotation.Advance(w.state, opened, w.now, w.policy)
	if err != nil && (!cmp.Equal(d.State, w.state, cmp.AllowUnexported(jwks.Key{})) || string(before) != string(rotation.Render(d.State))) {
		w.Errorf("the refusal %q changed the state", err)
	}
	w.state = d.State
	return d, err
}

func (w *world) accept(e *snapshottest.Exporter, s snapshot.Snapshot) rotation.Decision {
	w.Helper()
	d, err := w.send(e, s)
	if err != nil {
		w.Fatalf("refused: %v", err)
	}
	return d
}

func (w *world) refuse(e *snapshottest.Exporter, s snapshot.Snapshot, want error) rotation.Decision {
	w.Helper()
	d, err := w.send(e, s)
	if !errors.Is(err, want) {
		w.Fatalf("got %v, want %v", err, want)
	}
	return d
}

func (w *world) operate(s rotation.Statement) rotation.Decision {
	w.Helper()
	d, err := w.tryOperate(s)
	if err != nil {
		w.Fatal(err)
	}
	return d
}

func (w *world) tryOperate(s rotation.Statement) (rotation.Decision, error) {
	s.Issuer, s.Cluster = prod.Issuer, prod.ID
	d, err := rotation.Operate(w.state, s, w.now, w.policy)
	w.state = d.State
	return d, err
}

// want compares what is published, in order of status, with names of keys.
func (w *world) want(published ...snapshottest.Key) {
	w.Helper()
	document, err := jwks.Parse(rotation.Render(w.state))
	if err != nil {
		w.Fatal(err)
	}
	got, want := document.IDs(), set(published...).IDs()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		w.Fatalf("published keys (-want +got):\n%s", diff)
	}
}

func (w *world) status(key snapshottest.Key) rotation.Status {
	for _, cluster := range w.state.Clusters {
		for _, k := range cluster.Keys {
			if k.JWK.SPKI() == key.SPKI() {
				return k.Status
			}
		}
	}
	return ""
}

func events(changes []rotation.Change) string {
	var names []string
	for _, change := range changes {
		names = append(names, change.Event)
	}
	return strings.Join(names, " ")
}

func TestRotationWithOverlap(t *testing.T) {
	w := newWorld(t, a)
	w.want(a)
	e := prod.NewExporter(publisher)
	w.accept(e, e.Snapshot(w.now, keys(a), a))
	w.now = w.now.Add(time.Minute)
	if d := w.accept(e, e.Snapshot(w.now, keys(a, b), a)); events(d.Changes) != rotation.KeyAdded {
		t.Fatal(events(d.Changes))
	}
	w.want(a, b)
	w.now = w.now.Add(time.Minute)
	w.accept(e, e.Snapshot(w.now, keys(a, b), b))
	w.accept(e, e.Snapshot(w.now, keys(b), b))
	w.want(a, b)
	if w.status(a) != rotation.Retiring {
		t.Fatal(w.status(a))
	}
	for range 48 * 6 { // heartbeats keep the clock beyond doubt
		w.now = w.now.Add(10 * time.Minute)
		w.accept(e, e.Snapshot(w.now, keys(b), b))
	}
	w.want(b)
}

func TestSameSnapshotChangesNothing(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	s := e.Snapshot(w.now, keys(a, b), a)
	w.accept(e, s)
	if d := w.accept(e, s); d.Write || len(d.Changes) > 0 {
		t.Fatalf("%+v", d)
	}
	s.Keys = set(a)
	if d := w.refuse(e, s, rotation.ErrFork); events(d.Findings) != rotation.ForkDetected {
		t.Fatal(events(d.Findings))
	}
	s.Seq--
	if d := w.refuse(e, s, rotation.ErrSuperseded); d.Seq != s.Seq+1 {
		t.Fatal(d.Seq)
	}
}

func TestHardSwap(t *testing.T) {
	for name, test := range map[string]struct {
		prepare   func(*world)
		restarted bool
		want      error
	}{
		"the exporter stays up":                  {},
		"the exporter restarts":                  {restarted: true, want: snapshot.ErrNotBelieved},
		"the exporter restarts after announcing": {restarted: true, prepare: func(w *world) { w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b)}) }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, a)
			e := prod.NewExporter(publisher)
			w.accept(e, e.Snapshot(w.now, keys(a), a))
			if test.prepare != nil {
				test.prepare(w)
			}
			w.now = w.now.Add(time.Minute)
			if test.restarted {
				e = prod.NewExporter(publisher)
			}
			if test.want != nil {
				w.refuse(e, e.Snapshot(w.now, keys(b), b), test.want)
				w.operate(rotation.Statement{Action: rotation.Enroll, Keys: set(b)})
			}
			w.accept(e, e.Snapshot(w.now, keys(b), b))
			w.want(a, b)
		})
	}
}

func TestAdditiveSnapshotsRetireNothing(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	w.accept(e, e.Snapshot(w.now, keys(a), a))
	partial := func() snapshot.Snapshot {
		s := e.Snapshot(w.now, keys(b), a)
		s.APIServers = snapshot.APIServers{Listed: 3, Read: 1}
		return s
	}
	w.accept(e, partial())
	if w.status(a) != rotation.Current || w.status(b) != rotation.Current {
		t.Fatal(w.status(a), w.status(b))
	}
	w.now = w.now.Add(25 * time.Hour)
	s := partial()
	s.Attestations = []string{prod.Attest(b, e.Signer.Key(), w.now)}
	if d := w.accept(e, s); !strings.Contains(events(d.Findings), rotation.RetirementBlocked) {
		t.Fatal(events(d.Findings))
	}
	w.now = w.now.Add(time.Minute)
	fresh := prod.NewExporter(publisher)
	w.refuse(fresh, fresh.Snapshot(w.now, keys(a), a), snapshot.ErrNotBelieved) // a was not listed for 25 h: it vouches no more
}

func TestThiefIsEvicted(t *testing.T) {
	w := newWorld(t, a)
	honest, thief := prod.NewExporter(publisher), prod.NewExporter(publisher)
	w.accept(honest, honest.Snapshot(w.now, keys(a), a))
	w.now = w.now.Add(time.Hour)
	leaked := w.now
	w.accept(thief, thief.Snapshot(w.now, keys(a, x), a))
	w.now = w.now.Add(time.Minute)
	w.accept(thief, thief.Snapshot(w.now, keys(a, x, c), x)) // what the thief brought in vouches for more
	w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b)})
	w.want(a, b, c, x)
	w.now = w.now.Add(time.Minute)
	w.accept(honest, honest.Snapshot(w.now, keys(b), b))
	w.operate(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{a.ID()}, WithWord: true, Since: leaked})
	w.want(b)
	w.now = w.now.Add(time.Minute)
	for _, vouched := range keys(a, x, c) {
		w.refuse(thief, thief.Snapshot(w.now, keys(a, x), vouched), snapshot.ErrNotBelieved)
	}
	d := w.accept(honest, honest.Snapshot(w.now.Add(time.Second), keys(a, b), b))
	if !strings.Contains(events(d.Findings), rotation.RevokedListed) {
		t.Fatal(events(d.Findings))
	}
	w.want(b)
	w.operate(rotation.Statement{Action: rotation.Lift, KeyIDs: []string{a.ID()}})
	w.accept(honest, honest.Snapshot(w.now.Add(2*time.Second), keys(a, b), b))
	w.want(a, b)
}

func TestSharedIssuer(t *testing.T) {
	w := newWorld(t, a)
	w.policy.Members = append(w.policy.Members, rotation.Member{Cluster: other.ID, Generation: 1, ServiceAccount: other.ServiceAccount, Bootstrap: set(b)})
	w.reconcile()
	w.want(a, b)
	e := other.NewExporter(publisher)
	w.refuse(e, e.Snapshot(w.now, keys(a, b), b), rotation.ErrOwned)
	w.refuse(e, e.Snapshot(w.now, keys(b), a), snapshot.ErrNotBelieved) // another member's key does not vouch
	w.accept(e, e.Snapshot(w.now, keys(b), b))
	w.operate(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{a.ID()}})
	w.now = w.now.Add(time.Minute)
	w.refuse(e, e.Snapshot(w.now, keys(a, b), b), rotation.ErrOwned) // nor can it bring back what the owner's operator revoked
	w.policy.Members[1].Removed = true
	w.reconcile()
	if w.status(b) != rotation.Retiring {
		t.Fatal(w.status(b))
	}
	w.refuse(e, e.Snapshot(w.now, keys(b, c), b), snapshot.ErrNotBelieved)
}

// A key that was missing may be signing again where nobody looks.
func TestSilenceRemovesNothing(t *testing.T) {
	w := newWorld(t, a)
	w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(c)})
	e := prod.NewExporter(publisher)
	w.accept(e, e.Snapshot(w.now, keys(a, b), a))
	w.now = w.now.Add(time.Minute)
	w.accept(e, e.Snapshot(w.now, keys(b), b))
	for range 30 * 24 {
		w.now = w.now.Add(time.Hour)
		if d := w.reconcile(); events(d.Findings) != rotation.ClusterStale {
			t.Fatal(events(d.Findings))
		}
	}
	additive := e.Snapshot(w.now, keys(b), b)
	additive.APIServers.Listed++
	w.accept(e, additive)
	w.want(a, b, c)
	w.now = w.now.Add(time.Minute)
	w.accept(e, e.Snapshot(w.now, keys(b), b))
	w.want(b)
}

func TestAClockThatJumpedRemovesNothing(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	w.accept(e, e.Snapshot(w.now, keys(a, b), a))
	w.policy.Members[0].Removed = true // else the silence alone would keep the keys
	w.now = w.now.Add(time.Minute)
	w.reconcile()
	real := w.now
	w.now = real.AddDate(1, 0, 0)
	if d := w.reconcile(); events(d.Findings) != rotation.ClockUnsure {
		t.Fatal(events(d.Findings))
	}
	w.want(a, b)
	w.now = real.Add(5 * time.Minute)
	w.reconcile()
	w.want(a, b)
	w.now = real.Add(49 * time.Hour) // nothing is written meanwhile: in doubt once, then sure
	w.reconcile()
	w.want(a, b)
	w.now = w.now.Add(10 * time.Minute)
	w.reconcile()
	w.want()
}

func TestAnnouncedKeyLapses(t *testing.T) {
	w := newWorld(t, a)
	w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b)})
	e := prod.NewExporter(publisher)
	for range 7*24 + 1 {
		w.now = w.now.Add(time.Hour)
		w.accept(e, e.Snapshot(w.now, keys(a), a))
	}
	w.want(a)
}

func TestABAKeepsItsStampsClear(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	seen := map[string]bool{}
	for i := range 200 {
		w.now = w.now.Add(time.Hour)
		w.accept(e, e.Snapshot(w.now, keys([]snapshottest.Key{a, b}[i%2]), keys(a, b)[(i+1)%2], keys(a, b)[i%2]))
		if i > 0 {
			w.want(a, b)
		}
		if document := string(rotation.Render(w.state)); i > 0 {
			if seen[document] {
				t.Fatal("the bytes of a publication recurred")
			}
			seen[document] = true
		}
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	many := keys(a)
	for range rotation.MaxKeysPerCluster {
		many = append(many, snapshottest.NewKey())
	}
	w.refuse(e, e.Snapshot(w.now, many, a), rotation.ErrTooManyKeys)
	w.refuse(e, e.Snapshot(w.now, nil, a), rotation.ErrNoKeys)
	w.accept(e, e.Snapshot(w.now, many[:rotation.MaxKeysPerCluster], a))
	s := e.Snapshot(w.now, keys(a), a)
	s.Keys = jwks.Set{must(jwks.NewWithID(b.Public(), "chosen"))}
	w.refuse(e, s, rotation.ErrKeyID)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestTwoJumpsDoNotAgree(t *testing.T) {
	w := newWorld(t, a)
	w.policy.Members[0].Removed = true
	w.reconcile()
	for _, at := range []time.Time{w.now.AddDate(1, 0, 0), w.now.Add(5 * time.Minute), w.now.AddDate(1, 0, 0).Add(20 * time.Minute)} {
		w.now = at
		w.reconcile()
		w.want(a)
	}
}
