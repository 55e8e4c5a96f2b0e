package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
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
		return wrapper{real,
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
		return wrapper{real,
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

var mutants = map[string]struct {
	caughtBy []string
	breaks   func(bucket.Bucket) bucket.Bucket
}{
	"blind write": {
		[]string{"create twice", "stale update", "update of absent", "racing updates", "racing creates"},
		forcing(func(bucket.Version, error) bool { return true }, func(error) error { return nil }),
	},
	"writes, and then reports the conflict": {
		[]string{"create twice", "stale update", "update of absent", "racing creates"},
		forcing(func(bucket.Version, error) bool { return true }, func(refusal error) error { return refusal }),
	},
	"creation overwrites": {
		[]string{"create twice", "racing creates"},
		forcing(func(seen bucket.Version, _ error) bool { return seen == bucket.Absent }, func(error) error { return nil }),
	},
	"update creates": {
		[]string{"update of absent"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				if _, _, err := real.Get(ctx, name); errors.Is(err, bucket.ErrNotFound) {
					seen = bucket.Absent
				}
				return real.Put(ctx, name, object, seen)
			}
		}),
	},
	"check and write are two steps": {
		[]string{"racing updates", "racing creates"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				_, current, err := real.Get(ctx, name)
				if err != nil && !errors.Is(err, bucket.ErrNotFound) {
					return bucket.Absent, err
				}
				if current != seen {
					return bucket.Absent, bucket.ErrConflict
				}
				time.Sleep(time.Millisecond) // the way to the store
				return force(ctx, real, name, object)
			}
		}),
	},
	"lost conflict": {
		[]string{"create twice", "stale update", "update of absent", "racing updates", "racing creates"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				version, err := real.Put(ctx, name, object, seen)
				if errors.Is(err, bucket.ErrConflict) {
					return "some", nil
				}
				return version, err
			}
		}),
	},
	"conflict is an error of no kind": {
		[]string{"create twice", "stale update", "update of absent", "racing updates", "racing creates"},
		failing(func(err error) error {
			if errors.Is(err, bucket.ErrConflict) {
				return errors.New("412 Precondition Failed")
			}
			return err
		}),
	},
	"update of absent is not found": {
		[]string{"update of absent"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				if _, _, err := real.Get(ctx, name); err != nil && seen != bucket.Absent {
					return bucket.Absent, err
				}
				return real.Put(ctx, name, object, seen)
			}
		}),
	},
	"every error is not found": {
		[]string{"create twice", "stale update", "invalid names", "invalid objects", "cancelled"},
		failing(always(bucket.ErrNotFound)),
	},
	"every error is a conflict": {
		[]string{"absent", "invalid names", "invalid objects", "cancelled"},
		failing(always(bucket.ErrConflict)),
	},
	"absent is empty": {
		[]string{"absent"},
		onGet(func(real bucket.Bucket) getFunc {
			return func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				object, version, err := real.Get(ctx, name)
				if errors.Is(err, bucket.ErrNotFound) {
					return bucket.Object{}, bucket.Absent, nil
				}
				return object, version, err
			}
		}),
	},
	"absent has a version": {
		[]string{"absent"},
		onGet(func(real bucket.Bucket) getFunc {
			return func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				object, version, err := real.Get(ctx, name)
				if err != nil {
					version = "0"
				}
				return object, version, err
			}
		}),
	},
	"Get invents a version": {
		[]string{"create", "update"},
		onGet(func(real bucket.Bucket) getFunc {
			return func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				object, version, err := real.Get(ctx, name)
				return object, version + "x", err
			}
		}),
	},
	"Put returns no version": {
		[]string{"create"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				_, err := real.Put(ctx, name, object, seen)
				return bucket.Absent, err
			}
		}),
	},
	"Put returns the version it replaced": {
		[]string{"update"},
		onPut(func(real bucket.Bucket) putFunc {
			return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				version, err := real.Put(ctx, name, object, seen)
				if seen != bucket.Absent && err == nil {
					version = seen
				}
				return version, err
			}
		}),
	},
	"writes nothing":        {[]string{"create"}, onPut(writesNothing)},
	"every handle caches":   {[]string{"update"}, onGet(cachingGet)},
	"drops Cache-Control":   {[]string{"headers"}, changing(func(o *bucket.Object) { o.CacheControl = "" })},
	"drops Content-Type":    {[]string{"headers"}, changing(func(o *bucket.Object) { o.ContentType = "application/octet-stream" })},
	"drops type parameters": {[]string{"headers"}, changing(func(o *bucket.Object) { o.ContentType, _, _ = strings.Cut(o.ContentType, ";") })},
	"defaults Cache-Control": {[]string{"headers"}, changing(func(o *bucket.Object) {
		if o.CacheControl == "" {
			o.CacheControl = "public, max-age=3600"
		}
	})},
	"headers change with the body only": {[]string{"headers"}, onPut(skippingEqualBodies)},
	"trims the body":                    {[]string{"bodies"}, changing(func(o *bucket.Object) { o.Body = bytes.TrimSpace(o.Body) })},
	"body ends at NUL":                  {[]string{"bodies"}, changing(func(o *bucket.Object) { o.Body, _, _ = bytes.Cut(o.Body, []byte{0}) })},
	"body is made UTF-8":                {[]string{"bodies"}, changing(func(o *bucket.Object) { o.Body = bytes.ToValidUTF8(o.Body, []byte("?")) })},
	"newlines are normalised":           {[]string{"bodies"}, changing(func(o *bucket.Object) { o.Body = bytes.ReplaceAll(o.Body, []byte("\r\n"), []byte("\n")) })},
	"64 KiB of a body":                  {[]string{"bodies"}, changing(func(o *bucket.Object) { o.Body = o.Body[:min(len(o.Body), 64<<10)] })},
	"an empty body keeps the old one":   {[]string{"bodies"}, onPut(skippingEmptyBodies)},
	"names without case":                {[]string{"names"}, renaming(strings.ToLower)},
	"names without folders":             {[]string{"names"}, renaming(func(name string) string { return strings.ReplaceAll(name, "/", "-") })},
	"names without dots":                {[]string{"names"}, renaming(func(name string) string { return strings.ReplaceAll(name, ".", "_") })},
	"names cut at 255":                  {[]string{"names"}, renaming(func(name string) string { return name[:min(len(name), 255)] })},
	"names cleaned up":                  {[]string{"invalid names"}, renaming(func(name string) string { return strings.TrimLeft(path.Clean(name), "/") })},
	"names unchecked":                   {[]string{"invalid names"}, renaming(func(name string) string { return fmt.Sprintf("%x", name)[:min(len(name), 100)] })},
	"writes under a cleaned name, and then refuses": {[]string{"invalid names"}, onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, err := real.Put(ctx, name, object, seen)
			if errors.Is(err, bucket.ErrName) {
				_, _ = real.Put(ctx, strings.TrimLeft(path.Clean(name), "/"), object, seen)
			}
			return version, err
		}
	})},
	"headers unchecked": {[]string{"invalid objects"}, changing(func(o *bucket.Object) {
		o.ContentType = strings.Map(onlyPrintable, "a/b"+o.ContentType)[:3]
		o.CacheControl = ""
	})},
	"bodies of any size": {[]string{"invalid objects"}, changing(func(o *bucket.Object) { o.Body = o.Body[:min(len(o.Body), bucket.MaxBody)] })},
	"writes, and then refuses the object": {[]string{"invalid objects"}, onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, err := real.Put(ctx, name, object, seen)
			if errors.Is(err, bucket.ErrObject) {
				_, _ = real.Put(ctx, name, text("cut"), seen)
			}
			return version, err
		}
	})},
	"deaf to cancellation": {[]string{"cancelled"}, func(real bucket.Bucket) bucket.Bucket {
		return wrapper{real,
			func(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
				return real.Get(context.WithoutCancel(ctx), name)
			},
			func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
				return real.Put(context.WithoutCancel(ctx), name, object, seen)
			},
		}
	}},
	"Get hands out its own body":  {[]string{"body of Get is the caller's"}, func(real bucket.Bucket) bucket.Bucket { return newSharing(real) }},
	"Put keeps the caller's body": {[]string{"body of Put is the caller's"}, func(real bucket.Bucket) bucket.Bucket { return newSharing(real) }},
	"Put changes the caller's body": {[]string{"body of Put is the caller's"}, onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, err := real.Put(ctx, name, object, seen)
			scribble(object.Body)
			return version, err
		}
	})},
	"body is written in pieces":             {[]string{"racing readers"}, onPut(writingInPieces(func(o *bucket.Object) { o.Body = o.Body[:len(o.Body)/2] }))},
	"headers are written after the body":    {[]string{"racing readers"}, onPut(writingInPieces(func(o *bucket.Object) { o.ContentType = "a/b" }))},
	"object is missing while it is written": {[]string{"racing readers"}, func(real bucket.Bucket) bucket.Bucket { return missingWhileWritten(real) }},
}

func onlyPrintable(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
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
	return wrapper{real,
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
	return wrapper{real,
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
