// Package publishers brings an operator's statement to every publisher of an issuer, wherever each of them runs: through Lambda, a Cloud Run
// service, a function app, or into a directory of this machine.
//
// It promises: a statement is sent only over https and only to the door that the settings name; a credential goes to that door and to the
// cloud's own login, and follows no redirect; what is asked and answered is bounded in time and size. A statement that is already true changes
// nothing at a publisher, so one that was not clearly answered is sent again.
package publishers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/visible"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	attempts     = 3
	attemptLimit = 75 * time.Second // functions have a minute
	totalLimit   = 2 * time.Minute  // for one publisher to carry a statement out
	planLimit    = 30 * time.Second // to plan it, or to answer at all after it could not be asked: nobody waits longer for a dead cloud
	firstPause   = 300 * time.Millisecond
	maxOutcome   = 1 << 20 // bytes
)

// Why a publisher did not do what it was asked. Every one is about one publisher, and its message says what to do.
var (
	// ErrUnreachable means that there was no clear answer. The statement may have been carried out; sending it again is safe.
	ErrUnreachable = errors.New("not reached")

	// ErrLogin means that nobody is logged in on this machine who could open the door.
	ErrLogin = errors.New("no login")

	// ErrForbidden means that the door is shut to whoever is logged in.
	ErrForbidden = errors.New("not allowed")

	// ErrRefused means that the publisher judged the statement and refused it. Nothing has changed there.
	ErrRefused = errors.New("refused")

	// ErrNoDoor means that what answers is not a publisher's door.
	ErrNoDoor = errors.New("not a publisher's door")
)

// Order is what an operator sends: a statement to be carried out, or only to be planned.
type Order struct {
	Statement rotation.Statement `json:"statement"`
	DryRun    bool               `json:"dryRun,omitempty"`
}

// Outcome is a publisher's answer: what the statement changed, or would, and what is published afterwards.
type Outcome struct {
	Status      string            `json:"status"` // accepted, unchanged, or planned
	Publication uint32            `json:"publication"`
	Changes     []rotation.Change `json:"changes,omitempty"`
	Findings    []rotation.Change `json:"findings,omitempty"`
	Published   []Key             `json:"published,omitempty"`
}

// Key is a published one.
type Key struct {
	Cluster   string          `json:"cluster"`
	KeyID     string          `json:"keyID"`
	Algorithm string          `json:"algorithm"`
	Status    rotation.Status `json:"status"`
}

// door carries an order to a publisher, and its answer back. The errors are this package's.
type door interface {
	send(ctx context.Context, order []byte) ([]byte, error)
}

// Send sends an order, again if it was not clearly answered, and reads the answer. The errors are this package's; each names the publisher.
func (p Publisher) Send(ctx context.Context, order Order) (Outcome, error) {
	limit := totalLimit
	if order.DryRun {
		limit = planLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	payload, err := json.Marshal(order)
	if err != nil {
		return Outcome{}, err
	}
	through, err := p.door(ctx)
	if err != nil {
		return Outcome{}, fmt.Errorf("publisher %s: %w", p.Name, err)
	}
	answer, err := patiently(ctx, through, payload)
	if err != nil {
		return Outcome{}, fmt.Errorf("publisher %s: %w", p.Name, err)
	}
	outcome, err := parseOutcome(answer)
	if err == nil {
		err = outcome.answers(order)
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("publisher %s: %w", p.Name, err)
	}
	return outcome, nil
}

// answers is ErrNoDoor if the outcome is of another kind than the order: what was only planned is not done, whoever says so.
func (o Outcome) answers(order Order) error {
	switch planned := o.Status == "planned"; {
	case planned && !order.DryRun:
		return fmt.Errorf("%w: it only planned what it was to do", ErrNoDoor)
	case !planned && order.DryRun:
		return fmt.Errorf("%w: it was asked for a plan only, and answers that it is done (%s): see what it publishes now", ErrNoDoor, o.Status)
	}
	return nil
}

func patiently(ctx context.Context, through door, payload []byte) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		limited, cancel := context.WithTimeout(ctx, attemptLimit)
		answer, err := through.send(limited, payload)
		cancel()
		if err == nil || !errors.Is(err, ErrUnreachable) || attempt == attempts {
			return answer, err
		}
		pause := time.NewTimer(firstPause<<attempt + rand.N(firstPause)) //nolint:gosec // G404: it only spreads attempts
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, err
		}
	}
}

// parseOutcome reads a publisher's answer. Members that are not known here are a newer publisher's. The error is ErrNoDoor.
func parseOutcome(answer []byte) (Outcome, error) {
	var o Outcome
	if len(answer) > maxOutcome {
		return Outcome{}, fmt.Errorf("%w: it answers with more than %d bytes", ErrNoDoor, maxOutcome)
	}
	if err := json.Unmarshal(answer, &o); err != nil {
		return Outcome{}, fmt.Errorf("%w: its answer is not an outcome: %w", ErrNoDoor, err)
	}
	if !slices.Contains([]string{"accepted", "unchanged", "planned"}, o.Status) {
		return Outcome{}, fmt.Errorf("%w: its answer has the status %.40q, not accepted, unchanged or planned", ErrNoDoor, o.Status)
	}
	return o, o.tame()
}

// tame puts what is only shown on one line each. A key's ID is looked for and printed to be copied, so it has to be one: the error is ErrNoDoor.
func (o *Outcome) tame() error {
	var ids []string
	for _, changes := range [][]rotation.Change{o.Changes, o.Findings} {
		for i := range changes {
			c := &changes[i]
			ids = append(ids, c.KeyID)
			c.Event, c.Cluster, c.Detail = visible.Line(c.Event), visible.Line(c.Cluster), visible.Line(c.Detail)
		}
	}
	for i := range o.Published {
		k := &o.Published[i]
		ids = append(ids, k.KeyID)
		k.Cluster, k.Algorithm, k.Status = visible.Line(k.Cluster), visible.Line(k.Algorithm), rotation.Status(visible.Line(string(k.Status)))
	}
	for _, id := range ids {
		if visible.Line(id) != id || strings.ContainsAny(id, `"\`) {
			return fmt.Errorf("%w: its answer has %.100q, which is not a key's ID", ErrNoDoor, id)
		}
	}
	return nil
}
