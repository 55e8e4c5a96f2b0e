package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Why a document is written; also the names of the events.
const (
	documentWritten   = "document.written"
	documentRepaired  = "document.repaired"
	documentContested = "document.contested"
)

func equal(a, b bucket.Object) bool {
	return bytes.Equal(a.Body, b.Body) && a.ContentType == b.ContentType && a.CacheControl == b.CacheControl
}

// readDocument returns the zero Object and Absent for a document that does not exist.
func (p *Publisher) readDocument(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	object, version, err := p.documents.Get(ctx, name)
	if errors.Is(err, bucket.ErrNotFound) {
		return bucket.Object{}, bucket.Absent, nil
	}
	return object, version, err
}

// judgeJWKS says why the public JWKS is to be written, if it is. A document with a higher number than the state's, or with the same
// number and other keys while the log has another entry where the state has its last, was written from a newer state than this one:
// the state was rolled back. Every other difference is an older publication of ours, or somebody's hand.
func (p *Publisher) judgeJWKS(ctx context.Context, iss *issuer, current bucket.Object, version bucket.Version, state rotation.State, unfinished bool) (string, error) {
	if equal(current, document(rotation.Render(state))) {
		return "", nil
	}
	number, numbered := rotation.PublicationOf(current.Body)
	switch {
	case version == bucket.Absent && unfinished, numbered && number < state.Publication:
		return documentWritten, nil
	case numbered && number > state.Publication:
		return "", fmt.Errorf("%w: object %s has publication %d, but the public JWKS is publication %d: the state was rolled back",
			ErrStateLost, iss.names.State, state.Publication, number)
	}
	return documentRepaired, p.checkLog(ctx, iss, state.Log)
}

// checkLog compares the state's last log entry with the log's.
func (p *Publisher) checkLog(ctx context.Context, iss *issuer, log rotation.Log) error {
	record, _, err := p.private.Get(ctx, iss.names.record(log.Entries))
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return nil // not stored yet
	case err != nil:
		return err
	case digestOf(record.Body) != log.Last:
		return fmt.Errorf("%w: record %s is not the one the state knows: the state was rolled back", ErrStateLost, iss.names.record(log.Entries))
	}
	return nil
}

func (p *Publisher) writeDocument(ctx context.Context, name string, object bucket.Object, seen bucket.Version, why string) error {
	if _, err := p.documents.Put(ctx, name, object, seen); err != nil {
		return err
	}
	p.event(ctx, why, "document", name)
	if why == documentRepaired && p.contested(name) {
		p.event(ctx, documentContested, "document", name, "detail", "repaired more than 3 times within an hour: do two publishers write to one path?")
	}
	return nil
}

// maxRepairs in an hour is what tampering or one mistake can explain.
const maxRepairs = 3

// contested counts a repair. The count is of this process, which on every platform serves the timer often enough to live on.
func (p *Publisher) contested(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	recent := []time.Time{now}
	for _, at := range p.repairs[name] {
		if now.Sub(at) < time.Hour {
			recent = append(recent, at)
		}
	}
	p.repairs[name] = recent
	return len(recent) > maxRepairs
}
