package main

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
)

// consume takes a snapshot from the queue. What was refused is done with: publish has logged it. An error brings the message back, and after
// maxDequeueCount of host.json the host puts it beside, into the queue of the same name with -poison.
func (a *app) consume(ctx context.Context, received invocation) (outputs, error) {
	if received.tooLarge { // no message is so large, so this one won't become smaller
		a.logger.ErrorContext(ctx, "a message is too large to be read", "event", "event.refused", "detail", "it is forgotten")
		return outputs{}, nil
	}
	value, err := received.value("message")
	if err != nil {
		return nil, err
	}
	message := printable(text(received.Metadata["Id"]))
	if message == "" {
		message = invocationOf(ctx)
	}
	return outputs{}, function.Take(ctx, a.publisher, a.logger, message, envelopeOf(value))
}

// envelopeOf finds the snapshot in a message. It has two dots, which base64 has not.
func envelopeOf(value jsontext.Value) []byte {
	said := strings.TrimSpace(text(value))
	if !strings.Contains(said, ".") {
		if decoded, err := base64.StdEncoding.DecodeString(said); err == nil {
			return decoded
		}
	}
	return []byte(said)
}
