package main

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// order is what an operator invokes the function with. A dry run shows the plan, so no event is needed that shows the state.
type order struct {
	Statement jsontext.Value `json:"statement"`
	DryRun    bool           `json:"dryRun"`
}

// outcome is the answer: what the statement changed, or would, and what is published afterwards.
type outcome struct {
	Status      string            `json:"status"` // accepted, unchanged, or planned
	Publication uint32            `json:"publication"`
	Changes     []rotation.Change `json:"changes"`
	Findings    []rotation.Change `json:"findings,omitzero"` // of a plan: what somebody should know
	Published   []publishedKey    `json:"published"`
}

type publishedKey struct {
	Cluster   string          `json:"cluster"`
	KeyID     string          `json:"keyID"`
	Algorithm string          `json:"algorithm"`
	Status    rotation.Status `json:"status"`
}

// operate carries out an operator's statement, or plans it.
func (f *function) operate(ctx context.Context, payload []byte) ([]byte, error) {
	if f.unusable != nil {
		return nil, f.unusable
	}
	event, err := decode[order](payload)
	if err != nil {
		return nil, err
	}
	statement, err := rotation.ParseStatement(event.Statement)
	if err != nil {
		return nil, err
	}
	if statement.Reason == "" {
		return nil, fmt.Errorf("%w: it has no reason: say why, for the log", rotation.ErrStatement)
	}
	result, err := f.carryOut(ctx, statement, event.DryRun)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statement.Action, err)
	}
	return json.Marshal(result)
}

func (f *function) carryOut(ctx context.Context, statement rotation.Statement, dryRun bool) (outcome, error) {
	if dryRun {
		plan, err := f.publisher.Plan(ctx, statement)
		return outcome{
			Status: "planned", Publication: plan.State.Publication, Changes: plan.Changes, Findings: plan.Findings, Published: keysOf(plan.State),
		}, err
	}
	receipt, err := f.publisher.Operate(ctx, statement)
	if err != nil {
		return outcome{}, err
	}
	state, err := f.publisher.State(ctx, statement.Issuer)
	if err != nil {
		return outcome{}, fmt.Errorf("it is done (%s, publication %d), but what is published now can't be read: %w", receipt.Status, receipt.Publication, err)
	}
	return outcome{Status: receipt.Status, Publication: receipt.Publication, Changes: receipt.Changes, Published: keysOf(state)}, nil
}

func keysOf(state rotation.State) []publishedKey {
	var all []publishedKey
	for _, c := range state.Clusters {
		for _, key := range c.Keys {
			all = append(all, publishedKey{c.ID, key.JWK.ID(), key.JWK.Algorithm(), key.Status})
		}
	}
	return all
}
