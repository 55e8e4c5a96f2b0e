package function

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// ErrOrder means that what came to the operator's door is no order. Nothing was done.
var ErrOrder = errors.New("not an operator's order")

// order is what an operator sends. A dry run shows the plan, so no event is needed that shows the state.
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

// Operate carries out an operator's order, {"statement": {...}}, or plans it with "dryRun": true, and answers in JSON with what the
// statement changed and what is published now. Callers have authenticated the operator. The errors are ErrOrder and those of
// publish.Publisher.Operate.
func Operate(ctx context.Context, p *publish.Publisher, payload []byte) ([]byte, error) {
	var received order
	if err := json.Unmarshal(payload, &received, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf(`%w: want {"statement": {...}, "dryRun": false}: %w`, ErrOrder, err)
	}
	statement, err := rotation.ParseStatement(received.Statement)
	if err != nil {
		return nil, err
	}
	if statement.Reason == "" {
		return nil, fmt.Errorf("%w: it has no reason: say why, for the log", rotation.ErrStatement)
	}
	result, err := carryOut(ctx, p, statement, received.DryRun)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", statement.Action, err)
	}
	return json.Marshal(result)
}

func carryOut(ctx context.Context, p *publish.Publisher, statement rotation.Statement, dryRun bool) (outcome, error) {
	if dryRun {
		plan, err := p.Plan(ctx, statement)
		return outcome{
			Status: "planned", Publication: plan.State.Publication, Changes: plan.Changes, Findings: plan.Findings, Published: keysOf(plan.State),
		}, err
	}
	receipt, err := p.Operate(ctx, statement)
	if err != nil {
		return outcome{}, err
	}
	state, err := p.State(ctx, statement.Issuer)
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
