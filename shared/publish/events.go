package publish

import (
	"context"
	"errors"
	"log/slog"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Events of this package; those about keys and clusters are named in package rotation, those about documents in documents.go. The
// names are an interface: every cloud's metrics and alarms are made from them.
const (
	snapshotAccepted  = "snapshot.accepted"
	snapshotRefused   = "snapshot.refused" // from a sender who belongs to the cluster: alarmed
	requestRejected   = "request.rejected" // from anybody: counted
	snapshotFailed    = "snapshot.failed"  // not judged to the end: may succeed later
	statementAccepted = "statement.accepted"
	statementRefused  = "statement.refused"
	stateLost         = "state.lost"
	logConflict       = "log.conflict"
	reconcileFailed   = "reconcile.failed"
	readBackDiffers   = "readback.differs"
	readBackFailed    = "readback.failed"
	mirrorDiffers     = "mirror.differs"
	mirrorFailed      = "mirror.failed"
	targetWritten     = "target.written"
	targetFailed      = "target.failed"
)

// routine events need nobody's attention. Every other one is a warning, and these are errors.
var (
	routine = map[string]bool{
		snapshotAccepted: true, requestRejected: true, statementAccepted: true, documentWritten: true, targetWritten: true,
		rotation.KeyCurrent: true, rotation.KeyReturned: true, rotation.KeyRetiring: true, rotation.KeyGone: true,
		rotation.ClusterEnrolled: true,
	}
	severe = map[string]bool{
		stateLost: true, logConflict: true, rotation.ForkDetected: true, documentContested: true, rotation.GenerationOld: true,
	}
)

// event logs one line. Nothing given to it may hold an envelope or a token.
func (p *Publisher) event(ctx context.Context, name string, attributes ...any) {
	level := slog.LevelWarn
	switch {
	case routine[name]:
		level = slog.LevelInfo
	case severe[name]:
		level = slog.LevelError
	}
	p.logger.Log(ctx, level, name, append([]any{"event", name, "publisher", p.name}, attributes...)...)
}

func (p *Publisher) changeEvents(ctx context.Context, iss *issuer, entry rotation.Entry) {
	for _, c := range entry.Changes {
		p.event(ctx, c.Event, "issuer", iss.url, "cluster", c.Cluster, "keyID", c.KeyID, "detail", c.Detail, "trust", entry.Trust, "entry", entry.Number)
	}
}

func (p *Publisher) findingEvents(ctx context.Context, iss *issuer, findings []rotation.Change) {
	for _, f := range findings {
		p.event(ctx, f.Event, "issuer", iss.url, "cluster", f.Cluster, "keyID", f.KeyID, "detail", f.Detail)
	}
}

// lossEvents raises the alarm that a person has to answer.
func (p *Publisher) lossEvents(ctx context.Context, iss *issuer, err error) {
	switch {
	case errors.Is(err, ErrStateLost):
		p.event(ctx, stateLost, "issuer", iss.url, "detail", err.Error(), "remedy", "kube-iam-assume operate recover")
	case errors.Is(err, ErrLogConflict):
		p.event(ctx, logConflict, "issuer", iss.url, "detail", err.Error(), "remedy", "kube-iam-assume operate recover")
	}
}
