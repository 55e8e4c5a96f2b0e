package publish

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

func (f fleet) history() []program {
	return []program{reconcile(), f.sent[0], f.statement(rotation.Announce), f.sent[1], f.sent[2], f.statement(rotation.Revoke), f.sent[3]}
}

// begun is a publisher that has published old and fresh, with nothing pending.
func begun(t *testing.T, f fleet) *rig {
	t.Helper()
	r := newRig(t, f, memory.UniqueVersions)
	r.must(reconcile(), f.sent[0], f.sent[1])
	r.events = nil
	return r
}

// TestEveryWriteFails lets each write of a history fail, alone or with all that follow it in the same call as on a full disk, and the
// call be made again later. It never reports success for nothing, and all ends as if nothing had failed.
func TestEveryWriteFails(t *testing.T) {
	t.Parallel()
	f := newFleet()
	for kind, versions := range kinds {
		clean := newRig(t, f, kind)
		clean.must(f.history()...)
		for write := 1; write <= clean.writes; write++ {
			for _, h := range []how{storedLost, neverLost} {
				for _, full := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/write %d%s/all that follow %t", versions, write, h, full), func(t *testing.T) {
						t.Parallel()
						failOne(newRig(t, f, kind), clean, write, h, full)
					})
				}
			}
		}
	}
}

func failOne(r, clean *rig, write int, h how, full bool) {
	failing := true
	r.fail = func(n int) how {
		if failing && (n == write || full && n > write) {
			return h
		}
		return well
	}
	for _, p := range r.history() {
		err := r.do(p)
		if err == nil {
			continue
		}
		if !errors.Is(err, ErrRetry) {
			r.Fatalf("%s: %v, want %v", p.name, err, ErrRetry)
		}
		if !full {
			r.Errorf("%s: gives up after one failure: %v", p.name, err)
		}
		failing = false
		r.must(p)
	}
	r.whole()
	if diff := cmp.Diff(clean.publishes(), r.publishes()); diff != "" {
		r.Errorf("published (-want +got):\n%s", diff)
	}
	for _, event := range clean.events {
		if strings.Contains(event, " ") && !r.saw(event) {
			r.Errorf("nobody logged %q", event)
		}
	}
}

// loss is something that happened to the stores of a publisher which had published old and fresh.
type loss struct {
	name   string
	happen func(*rig)
}

func losses() []loss {
	corrupt := func(change func(string) string) func(*rig) {
		return func(r *rig) {
			object := r.private.Snapshot()[r.names.State]
			r.replace(r.names.State, private([]byte(change(string(object.Body)))))
		}
	}
	return []loss{
		{"state deleted", func(r *rig) { r.replace(r.names.State) }},
		{"state and documents deleted", func(r *rig) { r.replace(r.names.State); r.deleteAll("prod/") }},
		{"state and log deleted", func(r *rig) { r.replace(r.names.State); r.deleteAll("log/") }},
		{"state empty", corrupt(func(string) string { return "" })},
		{"state cut off", corrupt(func(s string) string { return s[:len(s)/2] })},
		{"state without format", corrupt(func(s string) string { return strings.Replace(s, `"format":1`, `"format":0`, 1) })},
		{"state with something unknown", corrupt(func(s string) string { return strings.Replace(s, `"revision"`, `"x":1,"revision"`, 1) })},
		{"state of another issuer", corrupt(func(s string) string { return strings.Replace(s, "oidc.example.com/prod", "oidc.example.com/test", 1) })},
		{"state rolled back by one publication", func(r *rig) { rollBack(r, r.sent[3]) }},
		{"state rolled back by several", func(r *rig) { rollBack(r, r.sent[3], r.statement(rotation.Revoke)) }},
		{"state rolled back to before a revocation", func(r *rig) { rollBack(r, r.statement(rotation.Revoke)) }},
	}
}

// rollBack lets things happen and brings the state from before back, as an undelete or a restored backup would.
func rollBack(r *rig, happened ...program) {
	before := r.private.Snapshot()[r.names.State]
	r.must(happened...)
	r.replace(r.names.State, before)
	r.restart()
}

// TestLoss loses the state in every way. Nothing is published or withdrawn, somebody is told, and recovery brings back what the log
// and the public JWKS have, above the public number.
func TestLoss(t *testing.T) {
	t.Parallel()
	f := newFleet()
	for _, l := range losses() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			r := begun(t, f)
			l.happen(r)
			r.now = r.now.Add(time.Minute)
			r.restart()
			r.events = nil
			documents := r.documents.Snapshot()
			for _, p := range []program{reconcile(), f.sent[3], f.statement(rotation.Announce)} {
				if err := r.do(p); !errors.Is(err, ErrStateLost) && !errors.Is(err, ErrLogConflict) {
					t.Errorf("%s: %v, want a loss", p.name, err)
				}
			}
			if diff := cmp.Diff(documents, r.documents.Snapshot()); diff != "" {
				t.Errorf("the documents changed:\n%s", diff)
			}
			if !r.saw(stateLost) {
				t.Errorf("no event %s in %q", stateLost, r.events)
			}
			r.recovers()
		})
	}
}

// recovers carries out the operator's recovery and goes on.
func (r *rig) recovers() {
	r.Helper()
	public, _ := rotation.PublicationOf(r.public())
	revoked := r.revokes()
	r.must(r.statement(rotation.Recover))
	if !r.saw(rotation.StateRecovered) {
		r.Errorf("no event %s", rotation.StateRecovered)
	}
	if number := r.state().Publication; number <= public {
		r.Errorf("publication %d, the public one had %d", number, public)
	}
	want := []string{r.old.ID(), r.fresh.ID()}
	if revoked {
		want = want[:1]
	}
	for _, id := range want {
		if !slices.Contains(r.publishes(), id) {
			r.Errorf("key %s is lost", id)
		}
	}
	if revoked && slices.Contains(r.publishes(), r.fresh.ID()) {
		r.Error("a revoked key came back")
	}
	if err := r.do(r.sent[1]); !errors.Is(err, rotation.ErrSuperseded) {
		r.Errorf("a snapshot from before the loss: %v", err)
	}
	r.must(reconcile())
	if err := r.do(r.statement(rotation.Recover)); !errors.Is(err, ErrNotLost) {
		r.Errorf("recovers again: %v", err)
	}
	r.whole()
}

// revokes tells whether the log has a revocation.
func (r *rig) revokes() bool {
	for name, object := range r.private.Snapshot() {
		if strings.HasPrefix(name, "log/") && bytes.Contains(object.Body, []byte(`"action":"revoke"`)) {
			return true
		}
	}
	return false
}

// TestRolledBackAndOn commits a change onto a state that was rolled back, before anybody noticed.
func TestRolledBackAndOn(t *testing.T) {
	t.Parallel()
	r := begun(t, newFleet())
	rollBack(r, r.statement(rotation.Revoke))
	documents := r.documents.Snapshot()
	if err := r.do(r.sent[3]); !errors.Is(err, ErrStateLost) || !r.saw(stateLost) {
		t.Errorf("got %v, want %v and its event", err, ErrStateLost)
	}
	if diff := cmp.Diff(documents, r.documents.Snapshot()); diff != "" {
		t.Errorf("the documents changed:\n%s", diff)
	}
	r.recovers()
}

// TestFreshStartNeedsEverythingGone deletes all, which is a beginning, and the log, which is no reason to stop publishing.
func TestFreshStartNeedsEverythingGone(t *testing.T) {
	t.Parallel()
	r := begun(t, newFleet())
	r.deleteAll("log/")
	r.restart()
	r.must(reconcile(), r.sent[2], r.sent[3])
	if !bytes.Equal(r.public(), rotation.Render(r.state())) {
		t.Error("the documents are not what the state says")
	}
	r.deleteAll("")
	r.restart()
	r.must(reconcile())
	r.whole()
}

// TestNewerFormat meets a state of a version that is not out yet.
func TestNewerFormat(t *testing.T) {
	t.Parallel()
	r := begun(t, newFleet())
	state := r.private.Snapshot()[r.names.State].Body
	r.replace(r.names.State, private(bytes.Replace(state, []byte(`"format":1`), []byte(`"format":2,"more":[]`), 1)))
	r.restart()
	r.untouched(func() {
		for _, p := range []program{reconcile(), r.sent[3], r.statement(rotation.Revoke)} {
			if err := r.do(p); !errors.Is(err, rotation.ErrFormat) {
				t.Errorf("%s: %v, want %v", p.name, err, rotation.ErrFormat)
			}
		}
	})
}

// TestOlderGeneration rolls a deploy back to before a re-enrollment.
func TestOlderGeneration(t *testing.T) {
	t.Parallel()
	r := begun(t, newFleet())
	generation := &r.settings.Issuers[0].Clusters[0].Generation
	*generation = 2
	r.restart()
	r.must(reconcile())
	*generation = 1
	r.restart()
	r.untouched(func() {
		r.must(reconcile())
		for _, p := range []program{r.sent[3], r.statement(rotation.Revoke)} {
			if err := r.do(p); !errors.Is(err, rotation.ErrGeneration) {
				t.Errorf("%s: %v, want %v", p.name, err, rotation.ErrGeneration)
			}
		}
	})
	if !r.saw(rotation.GenerationOld) {
		t.Errorf("no event in %q", r.events)
	}
}

// TestTampering changes the documents by hand. Every difference is repaired and alarmed, and the fourth within an hour is contested.
func TestTampering(t *testing.T) {
	t.Parallel()
	f := newFleet()
	jwksName, discoveryName := newRig(t, f, memory.UniqueVersions).names.JWKS, newRig(t, f, memory.UniqueVersions).names.Discovery
	for name, tamper := range map[string]struct {
		document string
		change   func(bucket.Object) []bucket.Object
	}{
		"JWKS deleted":        {jwksName, func(bucket.Object) []bucket.Object { return nil }},
		"another key":         {jwksName, edited(func(s string) string { return strings.Replace(s, f.old.ID(), f.other.ID(), 1) })},
		"no number":           {jwksName, edited(func(s string) string { return strings.TrimSpace(s) })},
		"not a JWKS":          {jwksName, edited(func(string) string { return "<html>" })},
		"empty":               {jwksName, edited(func(string) string { return "" })},
		"cached for an hour":  {jwksName, func(o bucket.Object) []bucket.Object { o.CacheControl = ""; return []bucket.Object{o} }},
		"discovery deleted":   {discoveryName, func(bucket.Object) []bucket.Object { return nil }},
		"discovery of others": {discoveryName, edited(func(s string) string { return strings.Replace(s, "oidc.example.com", "attacker.example", 1) })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := begun(t, f)
			for i := range 5 {
				r.events = nil
				want := r.documents.Snapshot()
				r.replace(tamper.document, tamper.change(want[tamper.document])...)
				r.must(reconcile())
				if diff := cmp.Diff(want, r.documents.Snapshot()); diff != "" {
					t.Errorf("not repaired:\n%s", diff)
				}
				if !r.saw(documentRepaired) || r.saw(documentContested) != (i >= maxRepairs) {
					t.Errorf("repair %d: events %q", i+1, r.events)
				}
				r.now = r.now.Add(time.Minute)
			}
			r.now = r.now.Add(time.Hour)
			r.events = nil
			r.replace(tamper.document)
			r.must(reconcile())
			if !r.saw(documentRepaired) || r.saw(documentContested) {
				t.Errorf("an hour later: events %q", r.events)
			}
			r.whole()
		})
	}
}

func edited(change func(string) string) func(bucket.Object) []bucket.Object {
	return func(o bucket.Object) []bucket.Object {
		o.Body = []byte(change(string(o.Body)))
		return []bucket.Object{o}
	}
}

// TestCost counts what snapshots cost: at most three reads and one write while nothing changes, four and four for a change. A process
// that was just started looks once more at what the one before it may have left.
func TestCost(t *testing.T) {
	t.Parallel()
	r := begun(t, newFleet())
	revoke := r.statement(rotation.Revoke)
	for _, c := range []struct {
		program
		restarted     bool
		reads, writes int
	}{
		{r.sent[3], false, 4, 4}, // two keys come
		{r.sent[4], false, 3, 1}, // heartbeat
		{r.sent[4], false, 3, 0}, // the same snapshot again
		{revoke, false, 4, 4},
		{r.sent[5], true, 5, 1},
		{r.sent[6], false, 3, 1},
		{reconcile(), false, 4, 0},
	} {
		if c.restarted {
			r.restart()
		}
		r.reads, r.writes = 0, 0
		r.must(c.program)
		if r.reads > c.reads || r.writes > c.writes {
			t.Errorf("%s: %d reads and %d writes, want at most %d and %d", c.name, r.reads, r.writes, c.reads, c.writes)
		}
		t.Logf("%s: %d reads, %d writes", c.name, r.reads, r.writes)
	}
}
