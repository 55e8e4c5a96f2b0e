package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Target is a place beside the documents bucket that is to have an issuer's keys, such as a Workload Identity provider of Google's.
type Target interface {
	// Name is for the log.
	Name() string

	// Keep makes the target have these keys and no others, and reports whether it had not.
	Keep(ctx context.Context, keys jwks.Set) (changed bool, err error)
}

// ErrTarget means that the documents are published and logged, and the keys may not be at the issuer's target. The next input or
// reconcile tries again.
var ErrTarget = errors.New("the target may not have the keys")

// keepTarget comes last, when documents and log have what the state says. A target has no conditional write, so that a publisher that
// was slow may have written older keys over newer ones. It finds out by reading the state once more, and starts over: of all publishers that
// write, the last one to do so leaves what the state says then.
func (p *Publisher) keepTarget(ctx context.Context, iss *issuer, state rotation.State) error {
	if iss.target == nil {
		return nil
	}
	changed, err := iss.target.Keep(ctx, state.Published())
	if err != nil {
		p.event(ctx, targetFailed, "issuer", iss.url, "target", iss.target.Name(), "detail", err.Error())
		return fmt.Errorf("%w: %s: %s", ErrTarget, iss.target.Name(), err.Error()) // no code of its own: the snapshot was accepted
	}
	if !changed {
		return nil
	}
	p.event(ctx, targetWritten, "issuer", iss.url, "target", iss.target.Name(), "publication", state.Publication)
	now, _, err := p.readState(ctx, iss)
	if err == nil && now.Publication != state.Publication {
		err = fmt.Errorf("%w: another publisher published meanwhile", bucket.ErrConflict)
	}
	return err
}
