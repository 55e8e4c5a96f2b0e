package buckettest

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
)

// TestMutantsAreCaught demands of every mutant that the check named for it fails.
func TestMutantsAreCaught(t *testing.T) {
	t.Parallel()
	for name, mutant := range mutants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, caughtBy := range mutant.caughtBy {
				if err := runCheck(t, caughtBy, mutant.breaks); err == nil {
					t.Errorf("the check %q did not catch it", caughtBy)
				} else {
					t.Logf("%s: %v", caughtBy, err)
				}
			}
		})
	}
}

// TestEveryCheckCatches demands a mutant for every check: one that catches nothing is no check.
func TestEveryCheckCatches(t *testing.T) {
	t.Parallel()
	catches := map[string]bool{}
	for _, mutant := range mutants {
		for _, name := range mutant.caughtBy {
			catches[name] = true
		}
	}
	for _, check := range checks {
		if !catches[check.name] {
			t.Errorf("no mutant is caught by the check %q", check.name)
		}
	}
}

// TestWrappedButUnbroken runs all checks through the wrapper the mutants are made with, so that they are caught for what
// they break.
func TestWrappedButUnbroken(t *testing.T) {
	t.Parallel()
	for _, check := range checks {
		whole := func(real bucket.Bucket) bucket.Bucket { return wrapper{real, real.Get, real.Put} }
		if err := runCheck(t, check.name, whole); err != nil {
			t.Errorf("%s: %v", check.name, err)
		}
	}
}

// runCheck runs one check on two handles of a memory bucket, each wrapped on its own.
func runCheck(t *testing.T, name string, wrap func(bucket.Bucket) bucket.Bucket) error {
	t.Helper()
	i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("no check is called %q", name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	store := memory.New(memory.UniqueVersions)
	return checks[i].run(ctx, newStage(wrap(store), wrap(store)))
}

// TestOnly holds the judge of errors itself to what it demands.
func TestOnly(t *testing.T) {
	t.Parallel()
	other := errors.New("connection reset")
	for _, c := range []struct {
		err, want error
		pass      bool
	}{
		{bucket.ErrConflict, bucket.ErrConflict, true},
		{errors.Join(other, bucket.ErrConflict), bucket.ErrConflict, true},
		{other, nil, true},
		{nil, nil, false},
		{nil, bucket.ErrConflict, false},
		{other, bucket.ErrConflict, false},
		{bucket.ErrConflict, nil, false},
		{bucket.ErrNotFound, bucket.ErrConflict, false},
		{errors.Join(bucket.ErrNotFound, bucket.ErrConflict), bucket.ErrConflict, false},
	} {
		if err := only(c.err, c.want); (err == nil) != c.pass {
			t.Errorf("only(%v, %v) = %v", c.err, c.want, err)
		}
	}
}
