package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

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
	"names unchecked":                   {[]string{"invalid names"}, renaming(func(name string) string { return fmt.Sprintf("x%.100x", name) })},
	"writes under a cleaned name, and then refuses": {[]string{"invalid names"}, onPut(func(real bucket.Bucket) putFunc {
		return func(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
			version, err := real.Put(ctx, name, object, seen)
			if errors.Is(err, bucket.ErrName) {
				_, _ = real.Put(ctx, strings.TrimLeft(path.Clean(name), "/"), object, seen)
			}
			return version, err
		}
	})},
	"makes a bad object good": {[]string{"invalid objects"}, changing(func(o *bucket.Object) {
		if bucket.CheckObject(*o) != nil {
			*o = text("good")
		}
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
		return wrapper{
			real,
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
