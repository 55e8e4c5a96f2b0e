package publish

import (
	"context"
	"errors"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Reconcile does for every issuer what settings and time demand, repairs documents that differ from the state, and reads them back
// over the public URL as a stranger would. Run it at start and every 5 minutes. What it finds is logged; the error joins what failed,
// an issuer at a time: ErrRetry, ErrStateLost or ErrLogConflict. A failed read-back is an event and no error: the documents are
// written, and what is between them and the world is not the publisher's.
func (p *Publisher) Reconcile(ctx context.Context) error {
	var failed error
	for _, iss := range p.issuers {
		if err := p.reconcile(ctx, iss); err != nil {
			p.lossEvents(ctx, iss, err)
			p.event(ctx, reconcileFailed, "issuer", iss.url, "detail", err.Error())
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (p *Publisher) reconcile(ctx context.Context, iss *issuer) error {
	out, err := p.run(ctx, iss, input{
		judge: func(state rotation.State, now time.Time) (rotation.Decision, error) {
			return rotation.Reconcile(state, now, iss.policy)
		},
		entry: func(rotation.Decision) rotation.Entry { return rotation.Entry{Trust: "settings and time"} },
		full:  true,
	})
	p.findingEvents(ctx, iss, out.Findings)
	if err != nil {
		return err
	}
	if len(out.written) == 0 && !iss.private { // what was written just now may be cached in its old form
		p.readBack(ctx, iss)
		p.compareOthers(ctx, iss)
	}
	return nil
}
