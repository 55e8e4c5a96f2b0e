package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
)

// batch is an event with messages m0, m1, ...
func batch(bodies ...string) events.SQSEvent {
	var event events.SQSEvent
	for i, body := range bodies {
		event.Records = append(event.Records, events.SQSMessage{MessageId: fmt.Sprintf("m%d", i), EventSource: "aws:sqs", Body: body})
	}
	return event
}

// returned are the messages that go back to the queue.
func returned(t *testing.T, answer []byte) []string {
	t.Helper()
	var response events.SQSEventResponse
	if err := json.Unmarshal(answer, &response); err != nil || response.BatchItemFailures == nil {
		t.Fatalf("%s: %v", answer, err)
	}
	ids := []string{}
	for _, failure := range response.BatchItemFailures {
		ids = append(ids, failure.ItemIdentifier)
	}
	return ids
}

func TestQueue(t *testing.T) {
	t.Parallel()
	late := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.Background(), batchReserve+messageLeast)
	}
	for name, test := range map[string]struct {
		broken func() func(context.Context) error
		ctx    func() (context.Context, context.CancelFunc)
		want   []string
		saw    []string
	}{
		"poisoned messages are refused and the others taken": {want: []string{}, saw: []string{"request.rejected", "snapshot.accepted"}},
		"nothing is refused while the store is down": {
			broken: func() func(context.Context) error { return func(context.Context) error { return errStore } },
			want:   []string{"m1", "m3"}, saw: []string{"request.rejected", "queue.returned"},
		},
		"a panic takes one message with it": {
			broken: func() func(context.Context) error {
				calls := 0
				return func(context.Context) error {
					if calls++; calls == 1 {
						panic("a bug")
					}
					return nil
				}
			},
			want: []string{"m1"}, saw: []string{"snapshot.accepted", "queue.returned"},
		},
		"what there is no time for goes back": {ctx: late, want: []string{"m0", "m1", "m2", "m3"}, saw: []string{"queue.deferred"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.must(`{"reconcile": true}`)
			event := batch("poison", r.snapshot(r.key), `{"statement": {"action": "remove"}}`, r.snapshot(r.key))
			event.Records[0].MessageAttributes = map[string]events.SQSMessageAttribute{"statement": {DataType: "String"}}
			if test.broken != nil {
				r.broken = test.broken()
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			if test.ctx != nil {
				ctx, cancel = test.ctx()
			}
			defer cancel()
			answer, err := r.Invoke(ctx, must(json.Marshal(event)))
			if err != nil {
				t.Fatal(err)
			}
			if got := returned(t, answer); !slices.Equal(got, test.want) {
				t.Errorf("back to the queue go %q, want %q\n%s", got, test.want, r.log)
			}
			for _, event := range test.saw {
				if !r.saw(event) {
					t.Errorf("the log has no %s:\n%s", event, r.log)
				}
			}
		})
	}
}

// A store that never answers takes from each message its share of the time, and the batch is answered before the function's end.
func TestQueueHangs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	ctx, cancel := context.WithTimeout(context.Background(), batchReserve+2*messageLeast+2*time.Second)
	defer cancel()
	first := true
	r.broken = func(ctx context.Context) error {
		if first {
			first = false
			<-ctx.Done()
		}
		return ctx.Err()
	}
	answer, err := r.Invoke(ctx, must(json.Marshal(batch(r.snapshot(r.key), r.snapshot(r.key)))))
	if err != nil || ctx.Err() != nil {
		t.Fatal(err, ctx.Err())
	}
	if got := returned(t, answer); !slices.Equal(got, []string{"m0"}) {
		t.Errorf("back to the queue go %q\n%s", got, r.log)
	}
}
