package main

import (
	"context"
	"fmt"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
)

const (
	batchReserve = 2 * time.Second // of the function's time, to answer for the whole batch
	messageLeast = 2 * time.Second // without which a message is not begun
)

// consume takes a batch of snapshots. Those that may succeed later go back to the queue; one that was refused is done with: publish has
// logged it, and the log is what counts it. Message attributes mean nothing, the body is all.
func (h *handler) consume(ctx context.Context, payload []byte) ([]byte, error) {
	if h.unusable != nil {
		return nil, h.unusable
	}
	batch, err := decode[events.SQSEvent](payload)
	if err != nil {
		return nil, err
	}
	for i, message := range batch.Records {
		if message.EventSource != "aws:sqs" || message.MessageId == "" {
			return nil, fmt.Errorf("%w: record %d is from %.40q, want a message of aws:sqs with its ID", errEvent, i, message.EventSource)
		}
	}
	answer := events.SQSEventResponse{BatchItemFailures: []events.SQSBatchItemFailure{}}
	for i, message := range batch.Records {
		if !h.done(ctx, message, len(batch.Records)-i) {
			answer.BatchItemFailures = append(answer.BatchItemFailures, events.SQSBatchItemFailure{ItemIdentifier: message.MessageId})
		}
	}
	return json.Marshal(answer)
}

// done judges one message, in its share of the time that is left, and reports whether the queue can forget it.
func (h *handler) done(ctx context.Context, message events.SQSMessage, left int) bool {
	ctx, cancel := share(ctx, left)
	defer cancel()
	if end, ok := ctx.Deadline(); ok && time.Until(end) < messageLeast {
		h.logger.WarnContext(ctx, "no time left for a message", "event", "queue.deferred", "instance", message.MessageId)
		return false
	}
	return function.Take(ctx, h.publisher, h.logger, message.MessageId, []byte(message.Body)) == nil
}

// share divides what is left of the function's time evenly among the messages that are left, so that none starves the others.
func share(ctx context.Context, left int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, (time.Until(end)-batchReserve)/time.Duration(left))
}
