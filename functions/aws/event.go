package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

const (
	maxEvent      = 6 << 20                // bytes: Lambda's own limit
	answerReserve = 500 * time.Millisecond // of the function's time, so that what ran out of it is still answered
)

// errEvent means that the function was invoked with something it does not answer. Nothing was done.
var errEvent = errors.New("not an event of this function")

// handler is what lives from one invocation to the next. It is safe for concurrent use.
type handler struct {
	publisher *publish.Publisher
	door      http.Handler
	unusable  error // why there is no publisher
	responses *http.Client
	poll      time.Duration // between looks at a public URL
	logger    *slog.Logger
}

// kind is an event and what answers it.
type kind struct {
	name   string
	alone  []string // the only members it may have, where the event is ours
	answer func(*handler, context.Context, []byte) ([]byte, error)
}

// kinds are told apart by one member of the event each. Whoever calls the webhook chooses values below "body", "headers" and the like, and no
// member of the event itself, so it can't make another event.
var kinds = map[string]kind{
	"requestContext": {name: "HTTP API or Function URL", answer: (*handler).serve},
	"Records":        {name: "SQS batch", alone: []string{"Records"}, answer: (*handler).consume},
	"reconcile":      {name: "schedule", alone: []string{"reconcile"}, answer: (*handler).reconcile},
	"statement":      {name: "operator's statement", alone: []string{"statement", "dryRun"}, answer: (*handler).operate},
	"RequestType":    {name: "CloudFormation custom resource", answer: (*handler).deploy},
}

// Invoke implements lambda.Handler.
func (h *handler) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	event, err := kindOf(payload)
	if err != nil {
		h.logger.ErrorContext(ctx, "an event was refused", "event", "event.refused", "detail", err.Error())
		return nil, err
	}
	ctx, cancel := before(ctx, answerReserve)
	defer cancel()
	return event.answer(h, ctx, payload)
}

// kindOf says which event this is. What may be two is none.
func kindOf(payload []byte) (kind, error) {
	if len(payload) > maxEvent {
		return kind{}, fmt.Errorf("%w: %d bytes, at most %d", errEvent, len(payload), maxEvent)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(payload, &members); err != nil {
		return kind{}, fmt.Errorf("%w: %w", errEvent, err)
	}
	var found []string
	for member := range kinds {
		if _, ok := members[member]; ok {
			found = append(found, member)
		}
	}
	slices.Sort(found)
	if len(found) != 1 {
		return kind{}, fmt.Errorf("%w: of the members %q it has %d, want one", errEvent, slices.Sorted(maps.Keys(kinds)), len(found))
	}
	event := kinds[found[0]]
	for member := range members {
		if event.alone != nil && !slices.Contains(event.alone, member) {
			return kind{}, fmt.Errorf("%w: a %s has only the members %q, not %.40q", errEvent, event.name, event.alone, member)
		}
	}
	return event, nil
}

// decode reads an event. Members that are not asked for are AWS's to add.
func decode[T any](payload []byte) (T, error) {
	var event T
	if err := json.Unmarshal(payload, &event); err != nil {
		return event, fmt.Errorf("%w: %w", errEvent, err)
	}
	return event, nil
}

// status is the answer to an event whose sender wants no more.
type status struct {
	Status string `json:"status"`
}

func (h *handler) reconcile(ctx context.Context, payload []byte) ([]byte, error) {
	event, err := decode[struct {
		Reconcile bool `json:"reconcile"`
	}](payload)
	switch {
	case err != nil:
		return nil, err
	case !event.Reconcile:
		return nil, fmt.Errorf(`%w: want {"reconcile": true}`, errEvent)
	case h.unusable != nil:
		return nil, h.unusable
	}
	if err := h.publisher.Reconcile(ctx); err != nil {
		return nil, err
	}
	return json.Marshal(status{"reconciled"})
}

// operate carries out an operator's order, or plans it.
func (h *handler) operate(ctx context.Context, payload []byte) ([]byte, error) {
	if h.unusable != nil {
		return nil, h.unusable
	}
	return function.Operate(ctx, h.publisher, payload)
}

// before ends a context some time before the function's own end, so that an answer can still be given.
func before(ctx context.Context, reserve time.Duration) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(ctx, end.Add(-reserve))
	}
	return context.WithCancel(ctx)
}
