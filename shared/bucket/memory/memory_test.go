package memory_test

import (
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
)

func TestContract(t *testing.T) {
	t.Parallel()
	for name, versions := range map[string]memory.Versions{"unique": memory.UniqueVersions, "content": memory.ContentVersions} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buckettest.Run(t, func(*testing.T) (a, b bucket.Bucket) {
				store := memory.New(versions)
				return store, store
			})
		})
	}
}

// TestVersions writes A, B, A: the version returns with the body where versions are made of content, and only there.
func TestVersions(t *testing.T) {
	t.Parallel()
	for versions, wantReturn := range map[memory.Versions]bool{memory.UniqueVersions: false, memory.ContentVersions: true} {
		store := memory.New(versions)
		first := put(t, store, "A", bucket.Absent)
		second := put(t, store, "B", first)
		if first == second {
			t.Errorf("kind %d: two bodies have the version %q", versions, first)
		}
		if third := put(t, store, "A", second); (third == first) != wantReturn {
			t.Errorf("kind %d: versions are %q, %q, %q", versions, first, second, third)
		}
	}
}

func TestSnapshotIsACopy(t *testing.T) {
	t.Parallel()
	store := memory.New(memory.UniqueVersions)
	put(t, store, "body", bucket.Absent)
	all := store.Snapshot()
	if len(all) != 1 || string(all["name"].Body) != "body" || all["name"].ContentType != "text/plain" {
		t.Fatalf("snapshot is %v", all)
	}
	all["name"].Body[0] = '#'
	delete(all, "name")
	if body := string(store.Snapshot()["name"].Body); body != "body" {
		t.Errorf("store holds %q after a change of its snapshot", body)
	}
}

func put(t *testing.T, store *memory.Bucket, body string, seen bucket.Version) bucket.Version {
	t.Helper()
	version, err := store.Put(t.Context(), "name", bucket.Object{Body: []byte(body), ContentType: "text/plain"}, seen)
	if err != nil {
		t.Fatal(err)
	}
	return version
}
