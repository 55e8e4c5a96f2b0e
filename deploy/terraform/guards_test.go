package terraform_test

import (
	"path"
	"slices"
	"testing"
)

// A guard holds the configuration to one promise.
type guard struct {
	name  string
	check func(configuration) error
	red   []spoil // ways to break the promise, each of which the guard must see
}

// spoil is a change of a file that breaks a promise.
type spoil struct{ how, file, old, fresh string }

func TestGuards(t *testing.T) {
	t.Parallel()
	whole := load(t)
	for _, g := range slices.Concat(formGuards, alarmGuards, mirrorGuards, awsGuards, gcpGuards, azureGuards) {
		if err := g.check(whole); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
		if len(g.red) == 0 {
			t.Errorf("nothing shows that the guard %q can fail", g.name)
		}
		for _, s := range g.red {
			if g.check(whole.replace(t, s.file, s.old, s.fresh)) == nil {
				t.Errorf("%q is not seen by the guard %q", s.how, g.name)
			}
		}
	}
}

func folder(file string) string { return path.Dir(file) }
