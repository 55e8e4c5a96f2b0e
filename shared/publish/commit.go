package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

var (
	// ErrRetry means that the outcome is unknown or that others were faster: the same call may succeed later.
	ErrRetry = errors.New("not finished, and safe to repeat")

	// ErrStateLost means that the state is missing, unreadable, or older than what it published. Nothing is published or withdrawn
	// until a person has run `kube-iam-assume operate recover`.
	ErrStateLost = errors.New("state is lost")
)

const attempts = 5

// input is what a use case brings to one issuer.
type input struct {
	judge func(rotation.State, time.Time) (rotation.Decision, error)
	entry func(rotation.Decision) rotation.Entry // how a change is kept in the log
	full  bool                                   // look at every document, not only at what this input can have touched
}

// outcome is what an input came to.
type outcome struct {
	rotation.Decision
	written []string // documents that were written
}

// run takes an input through commit and publish. Whatever is unclear starts over from commit: the state is read again and the input
// judged again, so that an input which was committed before is found to be so and only the publish half is repeated.
func (p *Publisher) run(ctx context.Context, iss *issuer, in input) (outcome, error) {
	var last error
	for attempt := range attempts {
		if attempt > 0 {
			if err := sleep(ctx, p.pause(attempt)); err != nil {
				break
			}
		}
		out, err := p.once(ctx, iss, in)
		if err == nil || final(err) {
			return out, err
		}
		last = err
	}
	return outcome{}, fmt.Errorf("%w: issuer %s: %w", ErrRetry, iss.url, last)
}

func (p *Publisher) once(ctx context.Context, iss *issuer, in input) (outcome, error) {
	decision, mine, err := p.commit(ctx, iss, in)
	if err != nil {
		return outcome{Decision: decision}, err
	}
	written, err := p.publish(ctx, iss, in.full, mine)
	return outcome{Decision: decision, written: written}, err
}

// commit decides on the state as it was read and writes the next one only over that. Before a change, the record that the old state
// still holds is stored, or the log would have a gap. It returns the digest of the record it committed, if any.
func (p *Publisher) commit(ctx context.Context, iss *issuer, in input) (decision rotation.Decision, mine string, err error) {
	state, version, err := p.readState(ctx, iss)
	if err != nil {
		return rotation.Decision{}, "", err
	}
	now := p.now()
	decision, err = in.judge(state, now)
	if err != nil {
		return decision, "", decided{err}
	}
	if !decision.Write {
		return decision, "", nil
	}
	if len(decision.Changes) > 0 {
		if err := p.storeRecord(ctx, iss, state.Log, false); err != nil {
			return decision, "", err
		}
		entry := in.entry(decision)
		entry.Received, entry.Changes, entry.After = now.UTC(), decision.Changes, decision.State.Clusters
		decision.State.Log = appendEntry(state.Log, entry)
		mine = decision.State.Log.Last
	} else if p.isStored(iss, state.Log.Last) {
		decision.State.Log.Pending = nil
	}
	data, err := json.Marshal(decision.State)
	if err != nil {
		return decision, "", err
	}
	_, err = p.private.Put(ctx, iss.names.State, private(data), version)
	return decision, mine, err
}

// publish makes the documents what the state says. The JWKS is read before the state, so that a state which is older than the JWKS
// is never rendered over it: whoever wrote that JWKS had committed its state before, and the state is read after.
func (p *Publisher) publish(ctx context.Context, iss *issuer, full bool, mine string) (written []string, err error) {
	current, version, err := p.readDocument(ctx, iss.names.JWKS)
	if err != nil {
		return nil, err
	}
	state, _, err := p.readState(ctx, iss)
	if err != nil {
		return nil, err
	}
	if state.Format == 0 {
		return nil, fmt.Errorf("%w: the state vanished", bucket.ErrConflict)
	}
	unfinished := state.Log.Pending != nil && !p.isStored(iss, state.Log.Last)
	why, err := p.judgeJWKS(ctx, iss, current, version, state, unfinished)
	if err != nil {
		return nil, err
	}
	if why != "" {
		if err := p.writeDocument(ctx, iss.names.JWKS, document(rotation.Render(state)), version, why); err != nil {
			return nil, err
		}
		written = append(written, iss.names.JWKS)
	}
	if full || unfinished || why != "" {
		wrote, err := p.publishDiscovery(ctx, iss, unfinished)
		if err != nil {
			return written, err
		}
		written = append(written, wrote...)
	}
	if err := p.storeRecord(ctx, iss, state.Log, state.Log.Last == mine); err != nil {
		return written, err
	}
	return written, p.keepTarget(ctx, iss, state)
}

func (p *Publisher) publishDiscovery(ctx context.Context, iss *issuer, unfinished bool) ([]string, error) {
	current, version, err := p.readDocument(ctx, iss.names.Discovery)
	if err != nil || equal(current, iss.discovery) {
		return nil, err
	}
	why := documentRepaired
	if version == bucket.Absent && unfinished {
		why = documentWritten
	}
	return []string{iss.names.Discovery}, p.writeDocument(ctx, iss.names.Discovery, iss.discovery, version, why)
}

// readState returns the zero State only where the issuer was never published: where neither state nor documents nor log exist.
func (p *Publisher) readState(ctx context.Context, iss *issuer) (rotation.State, bucket.Version, error) {
	object, version, err := p.private.Get(ctx, iss.names.State)
	if errors.Is(err, bucket.ErrNotFound) {
		return rotation.State{}, bucket.Absent, p.checkNeverPublished(ctx, iss)
	}
	if err != nil {
		return rotation.State{}, "", err
	}
	state, err := decodeState(object.Body)
	if err == nil && state.Issuer != iss.url {
		err = fmt.Errorf("it is of the issuer %q", state.Issuer)
	}
	if err != nil {
		return rotation.State{}, version, fmt.Errorf("%w: object %s is unreadable: %w", ErrStateLost, iss.names.State, err)
	}
	return state, version, nil
}

// decodeState reads a state of this format strictly, and of a newer one as far as its number.
func decodeState(data []byte) (rotation.State, error) {
	var head struct {
		Format int    `json:"format"`
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return rotation.State{}, err
	}
	if head.Format > rotation.Format {
		return rotation.State{Format: head.Format, Issuer: head.Issuer}, nil // rotation refuses it
	}
	var state rotation.State
	err := json.Unmarshal(data, &state, json.RejectUnknownMembers(true))
	if err == nil && state.Format < 1 {
		err = errors.New("it has no format")
	}
	return state, err
}

// checkNeverPublished tells a beginning from a loss. A state always precedes what it publishes, so where something is published a
// second look must find the state, unless it is lost.
func (p *Publisher) checkNeverPublished(ctx context.Context, iss *issuer) error {
	name, err := p.anyTrace(ctx, iss)
	if err != nil || name == "" {
		return err
	}
	if _, _, err := p.private.Get(ctx, iss.names.State); !errors.Is(err, bucket.ErrNotFound) {
		return fmt.Errorf("%w: another publisher made the first state just now", bucket.ErrConflict)
	}
	return fmt.Errorf("%w: object %s is missing, but %s exists", ErrStateLost, iss.names.State, name)
}

// anyTrace names an object that only a publisher with a state can have written, if there is one.
func (p *Publisher) anyTrace(ctx context.Context, iss *issuer) (string, error) {
	for _, object := range []struct {
		in   bucket.Bucket
		name string
	}{{p.documents, iss.names.JWKS}, {p.documents, iss.names.Discovery}, {p.private, iss.names.record(1)}} {
		switch _, _, err := object.in.Get(ctx, object.name); {
		case err == nil:
			return object.name, nil
		case !errors.Is(err, bucket.ErrNotFound):
			return "", err
		}
	}
	return "", nil
}

// decided marks an error that another attempt can't change.
type decided struct{ error }

func (d decided) Unwrap() error { return d.error }

func final(err error) bool {
	var d decided
	return errors.As(err, &d) || errors.Is(err, ErrStateLost) || errors.Is(err, ErrLogConflict) || errors.Is(err, ErrTarget)
}

// jitter is 50 ms, doubled with every attempt, give or take half.
func jitter(attempt int) time.Duration {
	step := 50 * time.Millisecond << attempt
	return step/2 + rand.N(step) //nolint:gosec // jitter is no secret
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
