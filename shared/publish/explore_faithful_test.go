package publish

import (
	"context"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
)

// stepping is a publisher's view of real buckets, where every call waits for its turn.
type stepping struct {
	documents, private *memory.Bucket
	yield              func(struct{}) bool
}

func (s stepping) bucket(private bool) *memory.Bucket {
	s.yield(struct{}{})
	if private {
		return s.private
	}
	return s.documents
}

func (s stepping) get(private bool, name string) (bucket.Object, bucket.Version, error) {
	return s.bucket(private).Get(context.Background(), name)
}

func (s stepping) put(private bool, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	return s.bucket(private).Put(context.Background(), name, object, seen)
}

func (s stepping) run(e *explorer, p int) error {
	publisher := e.newPublisher(s, &process{})
	_, err := e.programs[p].do(context.Background(), publisher)
	return err
}

// TestExplorationIsFaithful walks interleavings on the real code with real buckets and in the exploration, step by step, and expects
// the same bytes and the same answers.
func TestExplorationIsFaithful(t *testing.T) {
	t.Parallel()
	for _, s := range newFleet().three() {
		for kind, versions := range kinds {
			t.Run(s.name+"/"+versions, func(t *testing.T) {
				t.Parallel()
				e := newExplorer(kind, s, mutant{})
				for seed := range uint64(30) {
					compareOne(t, e, rand.New(rand.NewPCG(seed, 1)))
				}
			})
		}
	}
}

func compareOne(t *testing.T, e *explorer, random *rand.Rand) {
	t.Helper()
	w, err := e.begin(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	real := stepping{memory.New(e.kind), memory.New(e.kind), func(struct{}) bool { return true }}
	for p := e.racing; p < len(e.programs)-1; p++ {
		if err := real.run(e, p); err != nil {
			t.Fatal(err)
		}
	}
	results, turns := make([]error, e.racing), make([]func() (struct{}, bool), e.racing)
	for i := range e.racing {
		next, stop := iter.Pull(func(yield func(struct{}) bool) {
			results[i] = stepping{real.documents, real.private, yield}.run(e, i)
		})
		defer stop()
		turns[i] = next
		next() // to its first call
	}
	for running := e.racing; running > 0; {
		i := random.IntN(e.racing)
		if !e.nodes[w.at[i]].running() {
			continue
		}
		if w, err = e.step(w, i, well); err != nil {
			t.Fatal(err)
		}
		if _, more := turns[i](); more != e.nodes[w.at[i]].running() {
			t.Fatalf("%s runs on: %t", e.programs[i].name, more)
		} else if !more {
			running--
		}
	}
	e.compareWith(t, w, real, results)
}

func (e *explorer) compareWith(t *testing.T, w world, real stepping, results []error) {
	t.Helper()
	got := map[int]bucket.Object{}
	for _, in := range []*memory.Bucket{real.documents, real.private} {
		for name, object := range in.Snapshot() {
			got[e.slotOf(name)] = object
		}
	}
	want := map[int]bucket.Object{}
	for i, held := range w.slots {
		if held.version != 0 {
			want[i] = e.objects[held.object]
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	for i, err := range results {
		if (err == nil) != (e.nodes[w.at[i]].err == nil) {
			t.Fatalf("%s: %v, explored %v", e.programs[i].name, err, e.nodes[w.at[i]].err)
		}
	}
}
