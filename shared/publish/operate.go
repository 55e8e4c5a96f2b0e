package publish

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Operate carries out an operator's statement: when it returns nil, what was stated is published and logged. Callers have
// authenticated the operator. The errors are those of rotation.Operate, ErrRetry, ErrStateLost and ErrLogConflict.
func (p *Publisher) Operate(ctx context.Context, s rotation.Statement) (Receipt, error) {
	iss, err := p.byURL(s.Issuer)
	if err != nil {
		return Receipt{}, err
	}
	out, err := p.operate(ctx, iss, s)
	if err != nil {
		p.lossEvents(ctx, iss, err)
		p.event(ctx, statementRefused, "issuer", iss.url, "cluster", s.Cluster, "action", string(s.Action), "detail", err.Error())
		var judged decided
		if errors.As(err, &judged) {
			return Receipt{}, judged.error
		}
		return Receipt{}, err
	}
	p.findingEvents(ctx, iss, out.Findings)
	status := "accepted"
	if len(out.Changes) == 0 {
		status = "unchanged"
	}
	p.event(ctx, statementAccepted, "issuer", iss.url, "cluster", s.Cluster, "action", string(s.Action), "status", status, "reason", s.Reason)
	return Receipt{Status: status, Seq: out.Seq, Publication: out.State.Publication, Changes: out.Changes}, nil
}

func (p *Publisher) operate(ctx context.Context, iss *issuer, s rotation.Statement) (outcome, error) {
	if s.Action == rotation.Recover {
		return p.recover(ctx, iss, s)
	}
	return p.run(ctx, iss, input{
		judge: func(state rotation.State, now time.Time) (rotation.Decision, error) {
			return rotation.Operate(state, s, now, iss.policy)
		},
		entry: entryOf(s),
		full:  true,
	})
}

func entryOf(s rotation.Statement) func(rotation.Decision) rotation.Entry {
	return func(rotation.Decision) rotation.Entry {
		return rotation.Entry{Trust: rotation.ByOperator, Statement: &s}
	}
}

// Plan says what a statement would do now, and does nothing. Its errors are those of Operate.
func (p *Publisher) Plan(ctx context.Context, s rotation.Statement) (rotation.Decision, error) {
	iss, err := p.byURL(s.Issuer)
	if err != nil {
		return rotation.Decision{}, err
	}
	if s.Action == rotation.Recover {
		plan, err := p.rebuild(ctx, iss)
		return plan.Decision, err
	}
	state, _, err := p.readState(ctx, iss)
	if err != nil {
		return rotation.Decision{}, err
	}
	return rotation.Operate(state, s, p.now(), iss.policy)
}

// State reads what the publisher remembers of an issuer. It is the zero State before the first publication.
func (p *Publisher) State(ctx context.Context, issuerURL string) (rotation.State, error) {
	iss, err := p.byURL(issuerURL)
	if err != nil {
		return rotation.State{}, err
	}
	state, _, err := p.readState(ctx, iss)
	if err != nil {
		return rotation.State{}, fmt.Errorf("issuer %s: %w", iss.url, err)
	}
	return state, nil
}
