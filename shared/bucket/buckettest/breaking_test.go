package buckettest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

type (
	getFunc func(context.Context, string) (bucket.Object, bucket.Version, error)
	putFunc func(context.Context, string, bucket.Object, bucket.Version) (bucket.Version, error)
)

// wrapper is a bucket whose methods can be replaced one by one.
type wrapper struct {
	bucket.Bucket
	get getFunc
	put putFunc
}

func (w wrapper) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	return w.get(ctx, name)
}

func (w wrapper) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	return w.put(ctx, name, object, seen)
}

func onGet(replace func(real bucket.Bucket) getFunc) func(bucket.Bucket) bucket.Bucket {
	return func(real bucket.Bucket) bucket.Bucket { return wrapper{real, replace(real), real.Put} }
}

func onPut(replace func(real bucket.Bucket) putFunc) func(bucket.Bucket) bucket.Bucket {
	return func(real bucket.Bucket) bucket.Bucket { return wrapper{real, real.Get, replace(real)} }
}

// changing makes a mutant that alters every object on its way in.
func changing(change func(*bucket.Object)) func(bucket.Bucket) bucket.Bucket {
	return onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			change(&object)
			return real.Put(ctx, name, object, seen)
		}
	})
}

// renaming makes a mutant that keeps every object under another name.
func renaming(rename func(string) string) func(bucket.Bucket) bucket.Bucket {
	return func(real bucket.Bucket) bucket.Bucket {
		return wrapper{
			real,
			func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				return real.Get(ctx, rename(name))
			},
			func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				return real.Put(ctx, rename(name), object, seen)
			},
		}
	}
}

// failing makes a mutant that returns other errors than the real bucket.
func failing(translate func(error) error) func(bucket.Bucket) bucket.Bucket {
	return func(real bucket.Bucket) bucket.Bucket {
		return wrapper{
			real,
			func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				object, version, err := real.Get(ctx, name)
				return object, version, translate(err)
			},
			func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				version, err := real.Put(ctx, name, object, seen)
				return version, translate(err)
			},
		}
	}
}

// always translates every error into one.
func always(sentinel error) func(error) error {
	return func(err error) error {
		if err == nil {
			return nil
		}
		return sentinel
	}
}

// force writes whatever the version is.
func force(ctx context.Context, real bucket.Bucket, name string, object bucket.Object) (bucket.Version, error) {
	for {
		_, version, err := real.Get(ctx, name)
		if err != nil && !errors.Is(err, bucket.ErrNotFound) {
			return bucket.Absent, err
		}
		version, err = real.Put(ctx, name, object, version)
		if !errors.Is(err, bucket.ErrConflict) {
			return version, err
		}
	}
}

// forcing makes a mutant that writes blindly where a condition on the refusal holds.
func forcing(when func(seen bucket.Version, refusal error) bool, answer func(refusal error) error) func(bucket.Bucket) bucket.Bucket {
	return onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, refusal := real.Put(ctx, name, object, seen)
			if !errors.Is(refusal, bucket.ErrConflict) || !when(seen, refusal) {
				return version, refusal
			}
			if version, err := force(ctx, real, name, object); err != nil || answer(refusal) == nil {
				return version, err
			}
			return bucket.Absent, answer(refusal)
		}
	})
}

func writesNothing(bucket.Bucket) putFunc {
	return func(context.Context, string, bucket.Object, bucket.Version) (bucket.Version, error) {
		return "1", nil
	}
}

// cachingGet remembers what it read once, until the process ends.
func cachingGet(real bucket.Bucket) getFunc {
	type answer struct {
		object  bucket.Object
		version bucket.Version
	}
	var mu sync.Mutex
	known := map[string]answer{}
	return func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
		mu.Lock()
		defer mu.Unlock()
		if hit, ok := known[name]; ok {
			return hit.object, hit.version, nil
		}
		object, version, err := real.Get(ctx, name)
		if err == nil {
			known[name] = answer{object, version}
		}
		return object, version, err
	}
}

func skippingEqualBodies(real bucket.Bucket) putFunc {
	return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
		if held, version, err := real.Get(ctx, name); err == nil && version == seen && bytes.Equal(held.Body, object.Body) {
			return version, nil
		}
		return real.Put(ctx, name, object, seen)
	}
}

func skippingEmptyBodies(real bucket.Bucket) putFunc {
	return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
		if held, _, err := real.Get(ctx, name); err == nil && len(object.Body) == 0 {
			object.Body = held.Body
		}
		return real.Put(ctx, name, object, seen)
	}
}

// newSharing makes a bucket that hands out, and keeps, bodies without copying them.
func newSharing(real bucket.Bucket) bucket.Bucket {
	var mu sync.Mutex
	bodies := map[string][]byte{}
	return wrapper{
		real,
		func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
			object, version, err := real.Get(ctx, name)
			mu.Lock()
			defer mu.Unlock()
			if body, ok := bodies[name]; ok {
				object.Body = body
			}
			return object, version, err
		},
		func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, err := real.Put(ctx, name, object, seen)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				bodies[name] = object.Body
			}
			return version, err
		},
	}
}

// writingInPieces puts a part of the object first, and the whole after it.
func writingInPieces(part func(*bucket.Object)) func(bucket.Bucket) putFunc {
	return func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			first := object
			part(&first)
			version, err := real.Put(ctx, name, first, seen)
			if err != nil {
				return version, err
			}
			time.Sleep(time.Millisecond) // the way to the store
			return real.Put(ctx, name, object, version)
		}
	}
}

// missingWhileWritten is a store that deletes the old object before it writes the new one.
func missingWhileWritten(real bucket.Bucket) bucket.Bucket {
	gone := &missing
	return wrapper{
		real,
		func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
			if _, missing := gone.Load(name); missing {
				return bucket.Object{}, bucket.Absent, bucket.ErrNotFound
			}
			return real.Get(ctx, name)
		},
		func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			gone.Store(name, true)
			defer gone.Delete(name)
			time.Sleep(time.Millisecond) // the way to the store
			return real.Put(ctx, name, object, seen)
		},
	}
}

// missing is shared by the handles of missingWhileWritten; names are unique to a run of a check.
var missing sync.Map
