package main

import (
	"context"
	"log/slog"
)

// maxInvocationID is more than the host's, a UUID.
const maxInvocationID = 64

type invocationKey struct{}

func withInvocation(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, invocationKey{}, printable(id))
}

// invocationOf is the ID under which the host has the invocation in its own log.
func invocationOf(ctx context.Context) string {
	id, _ := ctx.Value(invocationKey{}).(string)
	return id
}

// invocationLines is a handler whose lines name the invocation.
type invocationLines struct{ slog.Handler }

// Handle implements slog.Handler.
func (l invocationLines) Handle(ctx context.Context, record slog.Record) error {
	if id := invocationOf(ctx); id != "" {
		record.AddAttrs(slog.String("invocation", id))
	}
	return l.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (l invocationLines) WithAttrs(attributes []slog.Attr) slog.Handler {
	return invocationLines{l.Handler.WithAttrs(attributes)}
}

// WithGroup implements slog.Handler.
func (l invocationLines) WithGroup(name string) slog.Handler {
	return invocationLines{l.Handler.WithGroup(name)}
}

// printable is what of an ID may be in a log: all of it, or nothing.
func printable(id string) string {
	if len(id) > maxInvocationID {
		return ""
	}
	for _, char := range id {
		if char <= ' ' || char > '~' {
			return ""
		}
	}
	return id
}
