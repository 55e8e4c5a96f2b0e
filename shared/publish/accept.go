package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Receipt is the answer to an input that was accepted: what it asks for is published and logged.
type Receipt struct {
	Status      string `json:"status"`      // "accepted", or "unchanged" if it was known already
	Seq         int64  `json:"seq"`         // of the cluster
	Publication uint32 `json:"publication"` // of the JWKS

	Changes []rotation.Change `json:"changes,omitzero"` // what an operator's statement changed
}

// Accept judges a snapshot as it arrived and publishes what it brings. The checks go from cheap to dear. The error is a *Refusal if
// the snapshot was judged, and else ErrRetry, ErrStateLost or ErrLogConflict.
func (p *Publisher) Accept(ctx context.Context, envelope []byte) (Receipt, error) {
	opened, iss, err := p.open(envelope)
	if err != nil {
		return Receipt{}, p.reject(ctx, opened, refuse(err, false, 0))
	}
	out, err := p.run(ctx, iss, input{
		judge: func(state rotation.State, now time.Time) (rotation.Decision, error) {
			return rotation.Advance(state, opened, now, iss.policy)
		},
		entry: func(d rotation.Decision) rotation.Entry {
			return rotation.Entry{Trust: trustOf(d.Belief), Envelope: string(envelope)}
		},
	})
	if err != nil {
		return Receipt{}, p.notAccepted(ctx, iss, opened, out.Decision, err)
	}
	status := "accepted"
	if !out.Write {
		status = "unchanged"
	}
	p.findingEvents(ctx, iss, out.Findings)
	p.event(ctx, snapshotAccepted, "issuer", iss.url, "cluster", opened.Cluster, "seq", opened.Seq, "status", status,
		"trust", trustByID(out.Belief, out.State, opened.Cluster), "listed", opened.APIServers.Listed, "read", opened.APIServers.Read, "exporter", opened.Exporter)
	return Receipt{Status: status, Seq: out.Seq, Publication: out.State.Publication}, nil
}

// open is everything that can be checked without the state.
func (p *Publisher) open(envelope []byte) (snapshot.Opened, *issuer, error) {
	opened, err := snapshot.Open(envelope)
	if err != nil {
		return opened, nil, err
	}
	iss, err := p.byCluster(opened.Cluster)
	if err != nil {
		return opened, nil, err
	}
	return opened, iss, opened.Check(snapshot.Expected{Cluster: opened.Cluster, Publisher: p.name, Issuer: iss.url}, p.now())
}

func (p *Publisher) notAccepted(ctx context.Context, iss *issuer, opened snapshot.Opened, d rotation.Decision, err error) error {
	p.findingEvents(ctx, iss, d.Findings)
	p.lossEvents(ctx, iss, err)
	var judged decided
	if errors.As(err, &judged) {
		return p.reject(ctx, opened, refuse(judged.error, d.Belief.Known, d.Seq))
	}
	p.event(ctx, snapshotFailed, "issuer", iss.url, "cluster", opened.Cluster, "seq", opened.Seq, "detail", err.Error())
	return err
}

func (p *Publisher) reject(ctx context.Context, opened snapshot.Opened, refusal *Refusal) error {
	name := snapshotRefused
	if !refusal.Known || refusal.Code == CodeSuperseded {
		name = requestRejected
	}
	code, _ := reason(refusal.Err)
	p.event(ctx, name, "code", code, "told", refusal.Code, "cluster", opened.Cluster, "seq", opened.Seq, "instance", instance(ctx), "detail", refusal.Error())
	return refusal
}

// trustOf is kept in the log: keys by their SPKI, which is what they are.
func trustOf(b snapshot.Belief) string {
	if b.How == "" {
		return ""
	}
	return b.How + " by " + strings.Join(b.VouchedBy, ", ")
}

// trustByID is told to people. Keys of an external signer have names that their SPKI does not tell.
func trustByID(b snapshot.Belief, state rotation.State, cluster string) string {
	c, _ := state.Cluster(cluster)
	named := slices.Clone(b.VouchedBy)
	for i, spki := range named {
		for _, key := range c.Keys {
			if key.JWK.SPKI() == spki && !key.JWK.HasDerivedID() {
				named[i] = fmt.Sprintf("%s (SPKI %s)", key.JWK.ID(), spki)
			}
		}
	}
	b.VouchedBy = named
	return trustOf(b)
}
