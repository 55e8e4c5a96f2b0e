package dir

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
)

func TestContract(t *testing.T) {
	t.Parallel()
	buckettest.Run(t, func(t *testing.T) (a, b bucket.Bucket) {
		root := filepath.Join(t.TempDir(), "bucket")
		return open(t, root), open(t, root)
	})
}

func TestLayout(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "bucket")
	store := open(t, root)
	put(t, store, "a", "one", bucket.Absent)
	put(t, store, "a/b", "two", bucket.Absent)
	if got, want := listing(t, root), []string{"@lock", "a/b@", "a@"}; !slices.Equal(got, want) {
		t.Errorf("files are %q, want %q", got, want)
	}
	content, err := os.ReadFile(filepath.Join(root, "a/b@"))
	if err != nil || string(content) != "Content-Type: text/plain\n\ntwo" {
		t.Errorf("file of a/b is %q, %v", content, err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a@": 0o600, "@lock": 0o600} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %o, want %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestVersionIsOfHeadersToo(t *testing.T) {
	t.Parallel()
	store := open(t, t.TempDir())
	first := put(t, store, "name", "body", bucket.Absent)
	object := bucket.Object{Body: []byte("body"), ContentType: "text/plain", CacheControl: "no-store"}
	second, err := store.Put(t.Context(), "name", object, first)
	if err != nil || second == first {
		t.Errorf("version is %q after %q, %v", second, first, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, path string){
		"no parent directory": func(t *testing.T, path string) { must(t, os.Remove(filepath.Dir(path))) },
		"a file":              func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o600)) },
		"a dangling link":     func(t *testing.T, path string) { must(t, os.Symlink("nowhere", path)) },
		"lock is a folder":    func(t *testing.T, path string) { must(t, os.MkdirAll(filepath.Join(path, lockFile), 0o700)) },
		"no case": func(t *testing.T, path string) { // looks as such a file system does
			must(t, os.Mkdir(path, 0o700))
			must(t, os.WriteFile(filepath.Join(path, "@LOCK"), nil, 0o600))
		},
	} {
		path := filepath.Join(t.TempDir(), "parent", "bucket")
		must(t, os.Mkdir(filepath.Dir(path), 0o700))
		prepare(t, path)
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: Open = %v, want an error that names %s", name, err, path)
		}
	}
}

// TestNeverNotFound puts trouble in the way to an object: it can't be read, and is not taken for absent nor written over.
func TestNeverNotFound(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(t *testing.T, root, file string){
		"empty file":        func(t *testing.T, _, file string) { must(t, os.WriteFile(file, nil, 0o600)) },
		"no header":         func(t *testing.T, _, file string) { must(t, os.WriteFile(file, []byte("{}"), 0o600)) },
		"zeros":             func(t *testing.T, _, file string) { must(t, os.WriteFile(file, make([]byte, 100), 0o600)) },
		"too large":         func(t *testing.T, _, file string) { must(t, os.Truncate(file, int64(maxFile)+1)) },
		"body too large":    func(t *testing.T, _, file string) { must(t, os.Truncate(file, int64(maxFile))) },
		"one byte too many": func(t *testing.T, _, file string) { must(t, os.WriteFile(file, append(largestFile(), byte(0)), 0o600)) },
		"a folder":          func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o700)) },
		"a link to itself": func(t *testing.T, _, file string) {
			must(t, os.Remove(file))
			must(t, os.Symlink(filepath.Base(file), file))
		},
		"a named pipe":      func(t *testing.T, _, file string) { must(t, os.Remove(file)); must(t, syscall.Mkfifo(file, 0o600)) },
		"folder is a file":  func(t *testing.T, root, _ string) { replaceByFile(t, filepath.Join(root, "a")) },
		"bucket is a file":  func(t *testing.T, root, _ string) { replaceByFile(t, root) },
		"bucket is gone":    func(t *testing.T, root, _ string) { must(t, os.RemoveAll(root)) },
		"volume is missing": func(t *testing.T, root, _ string) { must(t, os.RemoveAll(root)); must(t, os.Mkdir(root, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := filepath.Join(t.TempDir(), "bucket")
			store := open(t, root)
			version := put(t, store, "a/b", "one", bucket.Absent)
			trouble(t, root, store.file("a/b"))
			before := listing(t, root)
			_, _, err := store.Get(t.Context(), "a/b")
			wantOther(t, "Get", err)
			for _, seen := range []bucket.Version{version, bucket.Absent} {
				_, err = store.Put(t.Context(), "a/b", text("two"), seen)
				wantOther(t, "Put", err)
			}
			if after := listing(t, root); !slices.Equal(before, after) {
				t.Errorf("files were %q, now %q", before, after)
			}
		})
	}
}

// TestWaitEnds: who waits for the lock, of this process or another, can give up, and takes no harm nor does any.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	holder, waiter := open(t, root), open(t, root)
	version := put(t, holder, "name", "one", bucket.Absent)
	unlock, err := holder.lock(t.Context())
	must(t, err)
	for range 3 { // the first waits for the file, the others for the first
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if _, err := waiter.Put(ctx, "name", text("two"), version); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Put while another holds the lock: %v, want a deadline", err)
		}
		cancel()
	}
	if object, _, err := waiter.Get(t.Context(), "name"); err != nil || string(object.Body) != "one" {
		t.Errorf("Get while another holds the lock: %q, %v", object.Body, err)
	}
	unlock()
	put(t, waiter, "name", "three", version)
}

func open(t *testing.T, root string) *Bucket {
	t.Helper()
	store, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "text/plain"}
}

func put(t *testing.T, store *Bucket, name, body string, seen bucket.Version) bucket.Version {
	t.Helper()
	version, err := store.Put(t.Context(), name, text(body), seen)
	if err != nil {
		t.Fatal(err)
	}
	return version
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func replaceByFile(t *testing.T, path string) {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, os.WriteFile(path, nil, 0o600))
}

// wantOther demands an error that says nothing about the object.
func wantOther(t *testing.T, call string, err error) {
	t.Helper()
	if err == nil || errors.Is(err, bucket.ErrNotFound) || errors.Is(err, bucket.ErrConflict) {
		t.Errorf("%s: %v, want an error of another kind", call, err)
	}
}

// listing names all files below a path.
func listing(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && entry.IsDir() {
			return nil
		}
		name, _ := filepath.Rel(root, path)
		all = append(all, name)
		return err
	})
	must(t, err)
	return all
}

func sameBody(t *testing.T, store *Bucket, name string, want ...[]byte) []byte {
	t.Helper()
	object, _, err := store.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("Get(%q): %v", name, err)
	}
	if !slices.ContainsFunc(want, func(body []byte) bool { return bytes.Equal(body, object.Body) }) {
		t.Fatalf("Get(%q) has %d bytes %.20q, which nobody wrote", name, len(object.Body), object.Body)
	}
	return object.Body
}
