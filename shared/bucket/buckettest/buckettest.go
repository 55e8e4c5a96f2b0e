// Package buckettest is the contract of bucket.Bucket in executable form: every driver passes Run against something real.
//
// Its own tests run the checks against buckets that break the contract on purpose, one way each, and demand that each is
// caught and that each check catches something.
package buckettest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// patience bounds one check. Racing checks need some 50 rounds of a read and a write each.
const patience = 2 * time.Minute

// Run tests a driver. Open returns two handles on one store, made as two processes would make them; it is called once for
// each check and may return the same store every time, also one with objects in it: the names used are new in every run.
func Run(t *testing.T, open func(t *testing.T) (a, b bucket.Bucket)) {
	t.Helper()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			a, b := open(t)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := check.run(ctx, newStage(a, b)); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check returns an error that says how the contract was broken.
type check struct {
	name string
	run  func(context.Context, stage) error
}

var checks = []check{
	{"absent", absent},
	{"create", create},
	{"create twice", createTwice},
	{"update", update},
	{"stale update", staleUpdate},
	{"update of absent", updateOfAbsent},
	{"headers", headers},
	{"bodies", bodies},
	{"names", names},
	{"invalid names", invalidNames},
	{"invalid objects", invalidObjects},
	{"cancelled", cancelled},
	{"body of Get is the caller's", bodyOfGet},
	{"body of Put is the caller's", bodyOfPut},
	{"racing updates", racingUpdates},
	{"racing creates", racingCreates},
	{"racing readers", racingReaders},
}

// stage is where a check plays: two handles on one store and a folder that is empty in it.
type stage struct {
	a, b   bucket.Bucket
	folder string
}

func newStage(a, b bucket.Bucket) stage {
	return stage{a, b, "buckettest-" + rand.Text()}
}

func (s stage) name(name string) string { return s.folder + "/" + name }

func (s stage) handles() []bucket.Bucket { return []bucket.Bucket{s.a, s.b} }

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "text/plain"}
}

// put writes what must be writable.
func put(ctx context.Context, b bucket.Bucket, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	version, err := b.Put(ctx, name, object, seen)
	if err != nil {
		return bucket.Absent, fmt.Errorf("Put(%q) at version %q: %w", name, seen, err)
	}
	if version == bucket.Absent {
		return bucket.Absent, fmt.Errorf("Put(%q) returned the version of an absent object", name)
	}
	return version, nil
}

// refused demands that a write fails with one error and with no other one that a caller would act upon.
func refused(ctx context.Context, b bucket.Bucket, name string, object bucket.Object, seen bucket.Version, want error) error {
	_, err := b.Put(ctx, name, object, seen)
	if err := only(err, want); err != nil {
		return fmt.Errorf("Put(%.80q) at version %q: %w", name, seen, err)
	}
	return nil
}

// only demands that an error is the wanted sentinel (nil for any other error) and none of the rest.
func only(err, want error) error {
	if err == nil {
		return fmt.Errorf("no error, want %s", cmp.Or(want, errors.New("one")).Error())
	}
	for _, sentinel := range []error{bucket.ErrNotFound, bucket.ErrConflict, bucket.ErrName, bucket.ErrObject} {
		if errors.Is(err, sentinel) != errors.Is(want, sentinel) {
			return fmt.Errorf("error is %w (%q: %t), want %q", err, sentinel.Error(), errors.Is(err, sentinel), fmt.Sprint(want))
		}
	}
	return nil
}

// holds demands that every handle reads the same object at the same version.
func (s stage) holds(ctx context.Context, name string, want bucket.Object, version bucket.Version) error {
	for _, b := range s.handles() {
		got, at, err := b.Get(ctx, name)
		if err != nil {
			return fmt.Errorf("Get(%q): %w", name, err)
		}
		if err := same(got, want); err != nil {
			return fmt.Errorf("Get(%q): %w", name, err)
		}
		if at != version {
			return fmt.Errorf("Get(%q) returned version %q, Put %q", name, at, version)
		}
	}
	return nil
}

// lacks demands that every handle finds no object.
func (s stage) lacks(ctx context.Context, name string) error {
	for _, b := range s.handles() {
		_, version, err := b.Get(ctx, name)
		if err := only(err, bucket.ErrNotFound); err != nil {
			return fmt.Errorf("Get(%q) of an absent object: %w", name, err)
		}
		if version != bucket.Absent {
			return fmt.Errorf("Get(%q) of an absent object returned version %q", name, version)
		}
	}
	return nil
}

func same(got, want bucket.Object) error {
	if got.ContentType != want.ContentType || got.CacheControl != want.CacheControl {
		return fmt.Errorf("headers are %q and %q, want %q and %q", got.ContentType, got.CacheControl, want.ContentType, want.CacheControl)
	}
	if !bytes.Equal(got.Body, want.Body) {
		return fmt.Errorf("body has %d bytes %.40q, want %d bytes %.40q", len(got.Body), got.Body, len(want.Body), want.Body)
	}
	return nil
}
