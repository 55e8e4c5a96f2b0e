package publish_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// target has keys, or fails.
type target struct {
	keys   jwks.Set
	fails  error
	writes int
}

func (*target) Name() string { return "the target" }

func (t *target) Keep(_ context.Context, keys jwks.Set) (changed bool, err error) {
	if t.fails != nil || bytes.Equal(t.keys.Canonical(), keys.Canonical()) {
		return false, t.fails
	}
	t.keys = slices.Clone(keys)
	t.writes++
	return true, nil
}

const targetIssuer = "https://oidc.example.com/prod"

func newTargeted(t *testing.T, kept *target, key snapshottest.Key, log *bytes.Buffer) (*publish.Publisher, error) {
	t.Helper()
	config := publish.Config{
		Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
			URL: targetIssuer, Path: "prod", Retention: 48 * time.Hour, WorkloadIdentityProvider: "projects/1/locations/global/workloadIdentityPools/a/providers/b",
			Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{key.Key}}},
		}}},
		Documents: memory.New(memory.UniqueVersions), Private: memory.New(memory.UniqueVersions), Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	if kept != nil {
		config.Targets = map[string]publish.Target{targetIssuer: kept}
	}
	return publish.New(config)
}

// A target has what is published, after every use case; while it fails, so does the use case, though the documents are right.
func TestTarget(t *testing.T) {
	t.Parallel()
	first, second, log := snapshottest.NewKey(), snapshottest.NewKey(), &bytes.Buffer{}
	kept := &target{}
	p, err := newTargeted(t, kept, first, log)
	if err != nil {
		t.Fatal(err)
	}
	exporter := snapshottest.Cluster{ID: "prod", Issuer: targetIssuer, ServiceAccount: "a/b"}.NewExporter("p")
	accept := func(keys ...snapshottest.Key) error {
		_, err := p.Accept(t.Context(), exporter.Send(time.Now(), keys, keys[0]))
		return err
	}
	for _, step := range []struct {
		name   string
		do     func() error
		fails  error
		want   []snapshottest.Key
		writes int
	}{
		{name: "first start", do: func() error { return p.Reconcile(t.Context()) }, want: []snapshottest.Key{first}, writes: 1},
		{name: "no news", do: func() error { return accept(first) }, want: []snapshottest.Key{first}, writes: 1},
		{name: "a new key, and it fails", do: func() error { return accept(first, second) }, fails: errors.New("quota"), want: []snapshottest.Key{first}, writes: 1},
		{name: "still", do: func() error { return p.Reconcile(t.Context()) }, fails: jwks.ErrUnsupported, want: []snapshottest.Key{first}, writes: 1},
		{name: "the same again", do: func() error { return accept(first, second) }, want: []snapshottest.Key{first, second}, writes: 2},
		{name: "somebody's hand", do: func() error { kept.keys = nil; return p.Reconcile(t.Context()) }, want: []snapshottest.Key{first, second}, writes: 3},
		{name: "revoked", do: func() error {
			_, err := p.Operate(t.Context(), rotation.Statement{Issuer: targetIssuer, Cluster: "prod", Action: rotation.Revoke, KeyIDs: []string{first.ID()}, Reason: "stolen"})
			return err
		}, want: []snapshottest.Key{second}, writes: 4},
	} {
		kept.fails = step.fails
		err := step.do()
		if !errors.Is(err, step.fails) && !errors.Is(err, publish.ErrTarget) || (err != nil) != (step.fails != nil) || err != nil && !publish.Retryable(err) {
			t.Errorf("%s: %v", step.name, err)
		}
		for _, key := range step.want {
			if !slices.ContainsFunc(kept.keys, key.Equal) || len(kept.keys) != len(step.want) || kept.writes != step.writes {
				t.Errorf("%s: the target has %q after %d writes", step.name, kept.keys.IDs(), kept.writes)
			}
		}
	}
	if said := log.String(); strings.Count(said, "event=target.written") != 4 || strings.Count(said, "event=target.failed") != 2 || strings.Contains(said, "event=snapshot.refused") {
		t.Error(said)
	}
}

// A publisher that can't write to a provider does not pretend to.
func TestTargetOfNobody(t *testing.T) {
	t.Parallel()
	if _, err := newTargeted(t, nil, snapshottest.NewKey(), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "this publisher can't write to a workloadIdentityProvider") {
		t.Error(err)
	}
}
