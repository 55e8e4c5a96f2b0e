package exporter

import (
	"errors"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	api "k8s.io/apimachinery/pkg/runtime/schema"
)

// What may pass is tried again, longer and longer; what does not is not.
func TestEventPause(t *testing.T) {
	t.Parallel()
	events := api.GroupResource{Resource: "events"}
	for name, test := range map[string]struct {
		err   error
		tries int
		least time.Duration // altogether
	}{
		"no Roles yet":  {apierrors.NewForbidden(events, "", errors.New("role.rbac.authorization.k8s.io not found")), 5, 30 * time.Second},
		"an old token":  {apierrors.NewUnauthorized("no"), 14, 9 * time.Minute},
		"away":          {apierrors.NewServiceUnavailable("starting"), 14, 9 * time.Minute},
		"no answer":     {errors.New("connection refused"), 14, 9 * time.Minute},
		"no namespace":  {apierrors.NewNotFound(api.GroupResource{Resource: "namespaces"}, "x"), 1, 0},
		"not a message": {apierrors.NewInvalid(api.GroupKind{Kind: "Event"}, "x", nil), 1, 0},
	} {
		var waited, before time.Duration
		try := 1
		for ; ; try++ {
			pause, again := eventPause(try, test.err)
			if !again {
				break
			}
			if pause < before || pause > maxEventPause {
				t.Errorf("%s: try %d is followed by %s", name, try, pause)
			}
			waited, before = waited+pause, pause
		}
		if try != test.tries || waited < test.least || waited > 15*time.Minute {
			t.Errorf("%s: %d tries in %s, want %d", name, try, waited, test.tries)
		}
	}
}
