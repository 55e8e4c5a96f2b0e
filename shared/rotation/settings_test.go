package rotation_test

import (
	"errors"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func TestGenerations(t *testing.T) {
	w := newWorld(t, a)
	e := prod.NewExporter(publisher)
	w.accept(e, e.Snapshot(w.now, keys(a, c), a))
	w.policy.Members[0].Bootstrap = set(b)
	if d := w.reconcile(); events(d.Findings) != rotation.EnrollmentIgnored {
		t.Fatal(events(d.Findings))
	}
	w.policy.Members[0].Generation = 2
	w.now = w.now.Add(time.Minute)
	w.reconcile()
	w.want(a, b, c)
	w.refuse(e, e.Snapshot(w.now, keys(a), a), snapshot.ErrNotBelieved)
	w.accept(e, e.Snapshot(w.now, keys(b), b))
	w.policy.Members[0].Generation = 1
	w.now = w.now.Add(time.Minute)
	if d := w.reconcile(); events(d.Findings) != rotation.GenerationOld {
		t.Fatal(events(d.Findings))
	}
	w.refuse(e, e.Snapshot(w.now, keys(b), b), rotation.ErrGeneration)
}

// named is a key as an external signer calls it.
func named(key snapshottest.Key, id string) snapshottest.Key {
	renamed, err := jwks.NewWithID(key.Public(), id)
	if err != nil {
		panic(err)
	}
	key.Key = renamed
	return key
}

// An operator may enroll or announce an external signer's key by the ID that Kubernetes would have derived. He can correct that as long as no
// snapshot has listed it; what the cluster has said keeps its name.
func TestKeyIDsAreCorrectedByTheOperatorAlone(t *testing.T) {
	w := newWorld(t, a)
	e, a1, b1 := prod.NewExporter(publisher), named(a, "signer/a"), named(b, "signer/b")
	w.policy.Members[0].ExternalIDs = true
	w.refuse(e, e.Snapshot(w.now, keys(a1), a1), snapshot.ErrNotBelieved)

	w.policy.Members[0].Generation, w.policy.Members[0].Bootstrap = 2, set(a1)
	if d := w.reconcile(); len(d.Findings) > 0 || events(d.Changes) != rotation.ClusterReenrolled+" "+rotation.KeyAdded {
		t.Fatalf("%s %+v", events(d.Changes), d.Findings)
	}
	w.want(a1)
	w.accept(e, e.Snapshot(w.now, keys(a1), a1))

	w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b)})
	w.now = w.now.Add(time.Minute)
	w.refuse(e, e.Snapshot(w.now, keys(a1, b1), a1), rotation.ErrKeyConflict)
	if d := w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b1)}); events(d.Changes) != rotation.KeyAdded || w.status(b1) != rotation.Announced {
		t.Fatalf("%+v, %s", d.Changes, w.status(b1))
	}
	w.want(a1, b1)
	w.accept(e, e.Snapshot(w.now, keys(a1, b1), a1))

	w.policy.Members[0].Generation, w.policy.Members[0].Bootstrap = 3, set(a, b1)
	w.now = w.now.Add(time.Minute)
	if d := w.reconcile(); events(d.Findings) != rotation.EnrollmentIgnored {
		t.Fatalf("%+v", d.Findings)
	}
	w.want(a1, b1)

	_, err := w.tryOperate(rotation.Statement{Action: rotation.Announce, Keys: set(named(c, "signer/b"))})
	if !errors.Is(err, rotation.ErrKeyConflict) {
		t.Fatal(err)
	}
	w.want(a1, b1)
}

// So are IDs in the settings' announcedKeys. A statement's word stays until the settings change.
func TestKeyIDsAreCorrectedInTheSettings(t *testing.T) {
	w := newWorld(t, a)
	w.policy.Members[0].ExternalIDs = true
	w.policy.Members[0].Announced = set(b)
	w.reconcile()
	w.want(a, b)
	b1, b2 := named(b, "signer/b1"), named(b, "signer/b2")
	w.policy.Members[0].Announced = set(b1)
	w.reconcile()
	w.want(a, b1)
	w.operate(rotation.Statement{Action: rotation.Announce, Keys: set(b2)})
	w.reconcile()
	w.want(a, b2)
}

// The file of a removed cluster may be taken away once its keys are gone, not sooner.
func TestFileOfARemovedCluster(t *testing.T) {
	w := newWorld(t, a)
	w.policy.Members[0].Removed = true
	w.reconcile()
	w.policy.Members = nil
	if d := w.reconcile(); events(d.Findings) != rotation.ClusterMissing {
		t.Fatalf("%+v", d.Findings)
	}
	for range 49 {
		w.now = w.now.Add(time.Hour)
		w.reconcile()
	}
	w.want()
	if d := w.reconcile(); len(d.Findings) > 0 {
		t.Fatalf("%+v", d.Findings)
	}
}
