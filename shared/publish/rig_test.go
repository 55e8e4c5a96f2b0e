package publish

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// rig is a publisher whose stores a test can break.
type rig struct {
	*testing.T
	fleet
	names     names
	documents *memory.Bucket
	private   *memory.Bucket
	publisher *Publisher
	events    []string

	reads, writes int
	fail          func(write int) how // how the write of this number goes; nil for well
}

func newRig(t *testing.T, f fleet, kind memory.Versions) *rig {
	t.Helper()
	iss, err := newIssuer(f.settings.Issuers[0])
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, fleet: f, names: iss.names, documents: memory.New(kind), private: memory.New(kind)}
	r.restart()
	return r
}

// restart starts another process, which has seen nothing yet.
func (r *rig) restart() {
	r.Helper()
	p, err := New(Config{
		Settings: r.settings, Documents: door{r, false}, Private: door{r, true},
		Logger: slog.New(rigLog{r}), Now: func() time.Time { return r.now },
	})
	if err != nil {
		r.Fatal(err)
	}
	p.pause = func(int) time.Duration { return 0 }
	p.readBack = func(context.Context, *issuer) {}
	r.publisher = p
}

func (r *rig) bucket(private bool) *memory.Bucket {
	if private {
		return r.private
	}
	return r.documents
}

func (r *rig) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	r.reads++
	return r.bucket(private).Get(context.Background(), name)
}

func (r *rig) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	r.writes++
	h := well
	if r.fail != nil {
		h = r.fail(r.writes)
	}
	if h == neverLost {
		return bucket.Absent, errUnclear
	}
	version, err := r.bucket(private).Put(context.Background(), name, object, seen)
	if h == storedLost && err == nil {
		return bucket.Absent, errUnclear
	}
	return version, err
}

func (r *rig) do(p program) error {
	_, err := p.do(context.Background(), r.publisher)
	return err
}

func (r *rig) must(all ...program) {
	r.Helper()
	for _, p := range all {
		if err := r.do(p); err != nil {
			r.Fatalf("%s: %v", p.name, err)
		}
	}
}

// stored is everything in both buckets.
func (r *rig) stored() map[string]bucket.Object {
	all := r.documents.Snapshot()
	for name, object := range r.private.Snapshot() {
		all[name] = object
	}
	return all
}

// replace does by hand what no publisher can: it writes an object whatever was there, or with none deletes it.
func (r *rig) replace(name string, with ...bucket.Object) {
	r.Helper()
	target := &r.documents
	if _, private := r.private.Snapshot()[name]; private {
		target = &r.private
	}
	objects := (*target).Snapshot()
	delete(objects, name)
	for _, object := range with {
		objects[name] = object
	}
	*target = memory.New(memory.UniqueVersions)
	for name, object := range objects {
		if _, err := (*target).Put(context.Background(), name, object, bucket.Absent); err != nil {
			r.Fatal(err)
		}
	}
}

// deleteAll deletes every object whose name begins so.
func (r *rig) deleteAll(prefix string) {
	r.Helper()
	for name := range r.stored() {
		if strings.HasPrefix(name, prefix) {
			r.replace(name)
		}
	}
}

func (r *rig) state() rotation.State {
	r.Helper()
	state, err := decodeState(r.private.Snapshot()[r.names.State].Body)
	if err != nil {
		r.Fatal(err)
	}
	return state
}

func (r *rig) public() []byte { return r.documents.Snapshot()[r.names.JWKS].Body }

func (r *rig) publishes() []string {
	r.Helper()
	set, err := jwks.Parse(r.public())
	if err != nil {
		r.Fatal(err)
	}
	ids := set.IDs()
	slices.Sort(ids)
	return ids
}

func (r *rig) saw(event string) bool { return slices.Contains(r.events, event) }

// whole makes sure that the documents are what the state says, and the log complete and told.
func (r *rig) whole() {
	r.Helper()
	state := r.state()
	if !bytes.Equal(r.public(), rotation.Render(state)) || r.documents.Snapshot()[r.names.Discovery].Body == nil {
		r.Error("the documents are not what the state says")
	}
	remains, err := r.publisher.replay(context.Background(), r.publisher.issuers[0])
	if err != nil || remains.Log.Entries != state.Log.Entries || remains.Log.Last != state.Log.Last {
		r.Errorf("the log has %d entries, want %d: %v", remains.Log.Entries, state.Log.Entries, err)
	}
}

// untouched makes sure that what is done changes nothing that is stored.
func (r *rig) untouched(do func()) {
	r.Helper()
	before := r.stored()
	do()
	if diff := cmp.Diff(before, r.stored()); diff != "" {
		r.Errorf("something that is stored changed:\n%s", diff)
	}
}

// rigLog collects the names of events, and whole changes.
type rigLog struct{ *rig }

func (rigLog) Enabled(context.Context, slog.Level) bool { return true }
func (l rigLog) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l rigLog) WithGroup(string) slog.Handler          { return l }

func (l rigLog) Handle(_ context.Context, r slog.Record) error {
	l.events = append(l.events, r.Message)
	if change, ok := changeOf(r); ok {
		l.events = append(l.events, change)
	}
	return nil
}
