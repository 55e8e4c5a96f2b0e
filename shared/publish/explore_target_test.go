package publish

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const targetName = "target"

// target is one of which a publisher sees what others wrote, but whose writes have no condition.
type target struct{ store }

func (target) Name() string { return targetName }

func (t target) Keep(_ context.Context, keys jwks.Set) (changed bool, err error) {
	want := keys.Canonical()
	if had, err := t.read(); err != nil || bytes.Equal(had, want) {
		return false, err
	}
	if _, err := t.put(true, targetName, bucket.Object{Body: want}, bucket.Absent); err != nil {
		return false, err
	}
	has, err := t.read()
	if err == nil && !bytes.Equal(has, want) {
		err = errors.New("somebody else wrote it meanwhile")
	}
	return true, err
}

func (t target) read() ([]byte, error) {
	object, _, err := t.get(true, targetName)
	if errors.Is(err, bucket.ErrNotFound) {
		err = nil
	}
	return object.Body, err
}

// targets are what a publisher of the exploration keeps.
func (e *explorer) targets(s store) map[string]Target {
	if !e.target {
		return nil
	}
	return map[string]Target{e.settings.Issuers[0].URL: target{s}}
}

// checkTarget looks at the target, if every one of the first so many publishers says that it is right.
func (e *explorer) checkTarget(w world, publishers int) error {
	unsure := slices.ContainsFunc(w.at[:publishers], func(at int32) bool { return e.nodes[at].crashed || e.nodes[at].err != nil })
	if unsure {
		return nil
	}
	if state := e.of(&w, stateSlot).state; !e.target || bytes.Equal(e.objects[w.slots[targetSlot].object].Body, state.Published().Canonical()) {
		return nil
	}
	return &violation{property: followed, detail: "it has other keys"}
}
