package publish_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// A queue keeps what may succeed later, whatever the sender is told of it.
func TestRetryable(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		fmt.Errorf("%w: others were faster", publish.ErrRetry):          true,
		errors.New("the network"):                                       true,
		publish.ErrStateLost:                                            true,
		&publish.Refusal{Code: "not-believed", Err: rotation.ErrFormat}: true,
		&publish.Refusal{Code: "fork", Err: rotation.ErrFork}:           false,
		&publish.Refusal{Code: "malformed", Err: snapshot.ErrForm}:      false,
	} {
		if got := publish.Retryable(err); got != want {
			t.Errorf("%v: %t, want %t", err, got, want)
		}
	}
}
