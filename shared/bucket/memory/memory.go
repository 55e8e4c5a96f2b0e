// Package memory is a bucket in the memory of one process, for tests.
//
// It keeps the whole contract of package bucket except that nothing outlives the process. What a test wants to go wrong
// (refused access, lost answers, delays) and to count goes in a wrapper around it.
package memory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// Versions is how a store makes its versions. A publisher has to be right on both kinds, so its tests run on both.
type Versions int

const (
	// UniqueVersions gives every write a version of its own, as Cloud Storage's generations and Azure's ETags do.
	UniqueVersions Versions = iota

	// ContentVersions hashes the body, and only the body, as Amazon S3's ETag does: a body that returns brings its version
	// back with it, and a change of headers alone does not show.
	ContentVersions
)

// Bucket holds its objects in memory. It is safe for concurrent use.
type Bucket struct {
	versions Versions

	mu      sync.Mutex
	writes  uint64
	objects map[string]stored
}

type stored struct {
	object  bucket.Object
	version bucket.Version
}

var _ bucket.Bucket = (*Bucket)(nil)

// New makes an empty bucket.
func New(versions Versions) *Bucket {
	return &Bucket{versions: versions, objects: map[string]stored{}}
}

// Get implements bucket.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if err := check(ctx, "read", name); err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	held, found := b.objects[name]
	if !found {
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read %s in memory: %w", name, bucket.ErrNotFound)
	}
	return clone(held.object), held.version, nil
}

// Put implements bucket.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if err := check(ctx, "write", name); err != nil {
		return bucket.Absent, err
	}
	if err := bucket.CheckObject(object); err != nil {
		return bucket.Absent, fmt.Errorf("write %s in memory: %w", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if current := b.objects[name].version; current != seen {
		return bucket.Absent, fmt.Errorf("write %s in memory: %w: it is at version %q, not %q", name, bucket.ErrConflict, current, seen)
	}
	b.writes++
	version := b.version(object)
	b.objects[name] = stored{clone(object), version}
	return version, nil
}

// Snapshot copies all objects out, by name.
func (b *Bucket) Snapshot() map[string]bucket.Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make(map[string]bucket.Object, len(b.objects))
	for name, held := range b.objects {
		all[name] = clone(held.object)
	}
	return all
}

func (b *Bucket) version(object bucket.Object) bucket.Version {
	if b.versions == UniqueVersions {
		return bucket.Version(strconv.FormatUint(b.writes, 10))
	}
	sum := sha256.Sum256(object.Body)
	return bucket.Version(hex.EncodeToString(sum[:]))
}

// clone keeps caller and store from sharing a body that either may change.
func clone(object bucket.Object) bucket.Object {
	object.Body = bytes.Clone(object.Body)
	return object
}

func check(ctx context.Context, verb, name string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s in memory: %w", verb, name, err)
	}
	return bucket.CheckName(name)
}
