package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// ErrNotLost means that there is nothing to recover.
var ErrNotLost = errors.New("state is not lost")

// recovery is a rebuilt state and the version of the object it replaces.
type recovery struct {
	rotation.Decision
	log  rotation.Log
	seen bucket.Version
}

// recover replaces a lost state by one rebuilt from the log and the public JWKS, and publishes that. It does nothing while the state
// is there and agrees with both.
func (p *Publisher) recover(ctx context.Context, iss *issuer, s rotation.Statement) (outcome, error) {
	plan, err := p.rebuild(ctx, iss)
	if err != nil {
		return outcome{}, err
	}
	entry := entryOf(s)(plan.Decision)
	entry.Received, entry.Changes, entry.After = p.now().UTC(), plan.Changes, plan.State.Clusters
	plan.State.Log = appendEntry(plan.log, entry)
	data, err := json.Marshal(plan.State)
	if err != nil {
		return outcome{}, err
	}
	if _, err := p.private.Put(ctx, iss.names.State, private(data), plan.seen); err != nil {
		return outcome{}, fmt.Errorf("%w: state of %s: %w", ErrRetry, iss.url, err)
	}
	written, err := p.publish(ctx, iss, true, plan.State.Log.Last)
	if err != nil {
		return outcome{}, fmt.Errorf("%w: the state of %s is recovered, its documents follow with the next reconcile: %w", ErrRetry, iss.url, err)
	}
	return outcome{Decision: plan.Decision, written: written}, nil
}

func (p *Publisher) rebuild(ctx context.Context, iss *issuer) (recovery, error) {
	current, version, err := p.documentsOfLost(ctx, iss)
	if err != nil {
		return recovery{}, err
	}
	remains, err := p.replay(ctx, iss)
	if err != nil {
		return recovery{}, err
	}
	if published, err := jwks.Parse(current.Body); err == nil {
		remains.Published = published
	}
	remains.Publication, _ = rotation.PublicationOf(current.Body)
	plan := recovery{log: remains.Log, seen: version}
	plan.Decision, err = rotation.Rebuild(remains, p.now(), iss.policy)
	return plan, err
}

// documentsOfLost reads the public JWKS and makes sure that the state is lost.
func (p *Publisher) documentsOfLost(ctx context.Context, iss *issuer) (bucket.Object, bucket.Version, error) {
	current, documentVersion, err := p.readDocument(ctx, iss.names.JWKS)
	if err != nil {
		return current, "", err
	}
	_, version, err := p.private.Get(ctx, iss.names.State)
	if err != nil && !errors.Is(err, bucket.ErrNotFound) {
		return current, "", err
	}
	state, _, err := p.readState(ctx, iss)
	if err == nil {
		if state.Format == 0 {
			return current, "", fmt.Errorf("%w: issuer %s was never published", ErrNotLost, iss.url)
		}
		_, err = p.judgeJWKS(ctx, iss, current, documentVersion, state, true)
	}
	if err == nil {
		err = p.storeRecord(ctx, iss, state.Log, false)
	}
	switch {
	case err == nil:
		return current, "", fmt.Errorf("%w: issuer %s", ErrNotLost, iss.url)
	case errors.Is(err, ErrStateLost), errors.Is(err, ErrLogConflict):
		return current, version, nil
	}
	return current, "", err
}

// replay walks the log from its beginning, checking that every record names the one before.
func (p *Publisher) replay(ctx context.Context, iss *issuer) (rotation.Remains, error) {
	var remains rotation.Remains
	for number := int64(1); ; number++ {
		record, _, err := p.private.Get(ctx, iss.names.record(number))
		if errors.Is(err, bucket.ErrNotFound) {
			return remains, nil
		}
		if err != nil {
			return remains, err
		}
		var entry rotation.Entry
		if err := json.Unmarshal(record.Body, &entry); err != nil {
			return remains, fmt.Errorf("%w: record %s is unreadable: %w", ErrLogConflict, iss.names.record(number), err)
		}
		if entry.Number != number || entry.Previous != remains.Log.Last {
			return remains, fmt.Errorf("%w: record %s does not follow the one before", ErrLogConflict, iss.names.record(number))
		}
		remains.Clusters = entry.After
		remains.Log = rotation.Log{Entries: number, Last: digestOf(record.Body)}
		remains.Revision = number
	}
}
