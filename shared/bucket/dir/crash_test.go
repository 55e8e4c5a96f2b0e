package dir

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

const deep = "prod/openid/jwks" // its folders do not exist at first

// TestOrderOfSteps holds the order that the promises after a loss of power rest on, which no test here can cause: content
// before name, and the name and every folder on the way to it before success.
func TestOrderOfSteps(t *testing.T) {
	t.Parallel()
	want := []step{
		stepLock, stepRead, stepMakeFolder, stepRemove, stepCreate, stepWrite, stepSyncFile, stepClose, stepRename,
		stepSyncFolder, stepSyncFolder, stepSyncFolder,
	}
	store := open(t, t.TempDir())
	for _, body := range []string{"created", "updated"} { // an update syncs no less: it may follow a crash
		if got := trace(t, store, body); !slices.Equal(got, want) {
			t.Errorf("steps are %q, want %q", got, want)
		}
	}
}

// trace writes an object and returns the steps that took.
func trace(t *testing.T, store *Bucket, body string) []step {
	t.Helper()
	var steps []step
	store.before = func(s step) error {
		steps = append(steps, s)
		return nil
	}
	put(t, store, deep, body, versionNow(t, store, deep))
	return steps
}

func versionNow(t *testing.T, store *Bucket, name string) bucket.Version {
	t.Helper()
	_, version, err := store.Get(t.Context(), name)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		t.Fatal(err)
	}
	return version
}

// TestEveryStepFails lets each step of a creation and of an update fail: the object is the old one until the rename, and
// whole at any time; the next writer goes on as if nothing had been.
func TestEveryStepFails(t *testing.T) {
	t.Parallel()
	for _, old := range []string{"", "old body"} {
		steps := trace(t, open(t, t.TempDir()), "probe")
		for i, failing := range steps {
			t.Run(fmt.Sprintf("%d %s old=%q", i, failing, old), func(t *testing.T) {
				t.Parallel()
				store := withOld(t, old)
				count := 0
				store.before = func(step) error {
					if count++; count == i+1 {
						return syscall.ENOSPC
					}
					return nil
				}
				_, err := store.Put(t.Context(), deep, text("new body"), versionNow(t, store, deep))
				wantOther(t, "Put", err)
				if !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("Put: %v, want the disk's error", err)
				}
				after := open(t, store.root)
				wantAfter(t, after, i > slices.Index(steps, stepRename), old, "new body")
				wantClean(t, store.root, true)
				wantNextWrite(t, after)
			})
		}
	}
}

// withOld makes a bucket that holds the old body, or nothing if that is empty.
func withOld(t *testing.T, old string) *Bucket {
	t.Helper()
	store := open(t, filepath.Join(t.TempDir(), "bucket"))
	if old != "" {
		put(t, store, deep, old, bucket.Absent)
	}
	return store
}

// wantAfter demands the old object before the rename and the new one after it.
func wantAfter(t *testing.T, store *Bucket, renamed bool, old, fresh string) {
	t.Helper()
	want := old
	if renamed {
		want = fresh
	}
	if want != "" {
		sameBody(t, store, deep, []byte(want))
		return
	}
	if _, _, err := store.Get(t.Context(), deep); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("Get: %v, want that nothing was created", err)
	}
}

// wantClean demands that a leftover is there, or is not.
func wantClean(t *testing.T, root string, clean bool) {
	t.Helper()
	if slices.Contains(listing(t, root), newFile) == clean {
		t.Errorf("files are %q; no leftover: want %t", listing(t, root), clean)
	}
}

// wantNextWrite writes as a process that knows nothing of the trouble would, elsewhere and on the same object.
func wantNextWrite(t *testing.T, store *Bucket) {
	t.Helper()
	before := listing(t, store.root)
	put(t, store, "elsewhere", "next", versionNow(t, store, "elsewhere"))
	wantClean(t, store.root, true)
	put(t, store, deep, "next", versionNow(t, store, deep))
	for _, name := range []string{deep, "elsewhere"} {
		sameBody(t, store, name, []byte("next"))
	}
	if t.Failed() {
		t.Logf("files were %q, are %q", before, listing(t, store.root))
	}
}

// TestLeftovers: what may lie in the place of the new file is no object, and does no harm to any.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(store *Bucket, leftover string) error{
		"part of a file": func(_ *Bucket, leftover string) error {
			return os.WriteFile(leftover, []byte("Content-Type: te"), 0o600)
		},
		"a longer file": func(_ *Bucket, leftover string) error {
			return os.WriteFile(leftover, encode(bucket.Object{Body: bytes.Repeat([]byte("x"), 1<<20), ContentType: "a/b"}), 0o600)
		},
		"read-only":       func(_ *Bucket, leftover string) error { return os.WriteFile(leftover, nil, 0o400) },
		"an empty folder": func(_ *Bucket, leftover string) error { return os.Mkdir(leftover, 0o700) },
		// A file system without a journal may come up with both names after a loss of power.
		"the object itself": func(store *Bucket, leftover string) error { return os.Link(store.file(deep), leftover) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := withOld(t, "old body")
			must(t, leave(store, filepath.Join(store.root, newFile)))
			sameBody(t, store, deep, []byte("old body"))
			put(t, store, "elsewhere", "other", bucket.Absent)
			sameBody(t, store, deep, []byte("old body"))
			wantClean(t, store.root, true)
			wantNextWrite(t, store)
		})
	}
}
