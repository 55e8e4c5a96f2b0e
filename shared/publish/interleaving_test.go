package publish

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var (
	schedules = flag.Int("schedules", 100_000, "random interleavings of three publishers with faults")
	seed      = flag.Uint64("seed", 0, "the one random interleaving to walk, as a failure names it; 0 for new ones")
)

var kinds = map[memory.Versions]string{memory.UniqueVersions: "unique versions", memory.ContentVersions: "content versions"}

// scenario is publishers that race, and what was done before.
type scenario struct {
	name     string
	settings enrollment.Publisher
	now      time.Time
	keys     []string
	before   []program
	racing   []program
	target   bool
}

// fleet is one cluster with a pinned snapshot key, and the snapshots it sent: the first lists old, the second also fresh, the third
// old again, the fourth and all that follow list all three.
type fleet struct {
	old, fresh, other snapshottest.Key
	settings          enrollment.Publisher
	now               time.Time
	sent              []program
}

func newFleet() fleet {
	f := fleet{
		old: snapshottest.NewKey(), fresh: snapshottest.NewKey(), other: snapshottest.NewKey(),
		now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC),
	}
	cluster := snapshottest.Cluster{ID: "prod", Issuer: "https://oidc.example.com/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}
	exporter := cluster.NewExporter("prod")
	for i, listed := range [][]snapshottest.Key{{f.old}, {f.old, f.fresh}, {f.old}, {f.old, f.fresh, f.other}, {f.old, f.fresh, f.other}, {f.old, f.fresh, f.other}, {f.old, f.fresh, f.other}} {
		at := f.now.Add(time.Duration(i-9) * time.Second)
		envelope := exporter.Send(at, listed)
		f.sent = append(f.sent, program{name: fmt.Sprint("snapshot ", i+1), seq: at.UnixMilli(), do: func(ctx context.Context, p *Publisher) (Receipt, error) {
			return p.Accept(ctx, envelope)
		}})
	}
	f.settings = enrollment.Publisher{Name: "prod", Issuers: []enrollment.Issuer{{
		URL: cluster.Issuer, Path: "prod", Retention: 48 * time.Hour,
		Clusters: []enrollment.Cluster{{
			ID: cluster.ID, Generation: 1, ExporterServiceAccount: cluster.ServiceAccount,
			BootstrapKeys: jwks.Set{f.old.Key}, SnapshotKeys: jwks.Set{exporter.Signer.Key()},
		}},
	}}}
	return f
}

func (f fleet) statement(action rotation.Action) program {
	s := rotation.Statement{Issuer: f.settings.Issuers[0].URL, Cluster: "prod", Action: action, Reason: "test"}
	p := program{name: string(action), do: func(ctx context.Context, p *Publisher) (Receipt, error) { return p.Operate(ctx, s) }}
	if action == rotation.Revoke {
		s.KeyIDs, p.revokes = []string{f.fresh.ID()}, f.fresh.ID()
	} else {
		s.Keys = jwks.Set{f.fresh.Key}
	}
	return p
}

func (f fleet) race(name string, before []program, racing ...program) scenario {
	ids := []string{f.old.ID(), f.fresh.ID(), f.other.ID()}
	return scenario{name: name, settings: f.settings, now: f.now, keys: ids, before: before, racing: racing}
}

func (f fleet) three() []scenario {
	begun := []program{reconcile(), f.sent[0]}
	announce, revoke := f.statement(rotation.Announce), f.statement(rotation.Revoke)
	return []scenario{
		f.race("first start", nil, f.sent[0], reconcile(), reconcile()),
		f.race("new key, revoked, timer", begun, f.sent[1], revoke, reconcile()),
		f.race("announced, revoked, heartbeat", begun, announce, revoke, f.sent[2]),
		f.race("in doubled order", begun, f.sent[1], f.sent[1], f.sent[3]),
		f.race("out and in again", append(slices.Clone(begun), f.sent[1]), f.sent[2], f.sent[3], revoke),
	}
}

func (f fleet) two() []scenario {
	var all []scenario
	for _, s := range f.three() {
		for i := range s.racing {
			two := slices.Delete(slices.Clone(s.racing), i, i+1)
			pair := f.race(fmt.Sprintf("%s without %s", s.name, s.racing[i].name), s.before, two...)
			if !slices.ContainsFunc(all, func(other scenario) bool { return other.name == pair.name }) {
				all = append(all, pair)
			}
		}
	}
	return all
}

// TestThreePublishers walks every interleaving of three publishers while nothing fails.
func TestThreePublishers(t *testing.T) {
	t.Parallel()
	walkAll(t, newFleet().three(), 0, 0)
}

// TestTwoPublishersWithFaults walks every interleaving of two publishers of which one may die anywhere, before or after a call, and
// of which one answer may get lost, of a call that was made or was not.
func TestTwoPublishersWithFaults(t *testing.T) {
	t.Parallel()
	walkAll(t, newFleet().two(), 1, 1)
}

func walkAll(t *testing.T, scenarios []scenario, crashes, lost int8) {
	t.Helper()
	for _, s := range scenarios {
		for kind, versions := range kinds {
			t.Run(s.name+"/"+versions, func(t *testing.T) {
				t.Parallel()
				start := time.Now()
				e := newExplorer(kind, s, mutant{})
				interleavings, err := e.walk(crashes, lost)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%.3g interleavings, %d worlds, %d calls of the code, %v", interleavings, len(e.memo), len(e.nodes), time.Since(start).Round(time.Millisecond))
			})
		}
	}
}

func (e *explorer) walk(crashes, lost int8) (float64, error) {
	w, err := e.begin(crashes, lost)
	if err != nil {
		return 0, err
	}
	return e.explore(w)
}

// withTarget lets the publishers keep a target, too.
func withTarget(all []scenario) []scenario {
	for i := range all {
		all[i].name, all[i].target = all[i].name+" with a target", true
	}
	return all
}

// TestTwoPublishersKeepTarget walks the same for two publishers that also keep a target, with one fault of either kind. Three are walked
// by chance, below.
func TestTwoPublishersKeepTarget(t *testing.T) {
	t.Parallel()
	walkAll(t, withTarget(newFleet().two()), 1, 0)
	walkAll(t, withTarget(newFleet().two()), 0, 1)
}

// TestThreePublishersWithFaults walks interleavings of three publishers by chance, with up to two crashes and three lost answers.
func TestThreePublishersWithFaults(t *testing.T) {
	t.Parallel()
	first, count := *seed, 1
	if first == 0 {
		first, count = rand.Uint64()>>1+1, *schedules/(2*len(newFleet().three())*len(kinds))+1
	}
	for _, s := range slices.Concat(newFleet().three(), withTarget(newFleet().three())) {
		for kind, versions := range kinds {
			t.Run(s.name+"/"+versions, func(t *testing.T) {
				t.Parallel()
				t.Logf("seeds %d to %d", first, first+uint64(count)-1)
				e := newExplorer(kind, s, mutant{})
				w, err := e.begin(2, 3)
				for i := uint64(0); err == nil && i < uint64(count); i++ {
					if err = e.wander(w, rand.New(rand.NewPCG(first+i, 0))); err != nil {
						err = fmt.Errorf("-seed %d: %w", first+i, err)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}

// TestMutants shows that the properties are worth something: every mistake breaks one, with two publishers already.
func TestMutants(t *testing.T) {
	t.Parallel()
	f := newFleet()
	for _, m := range mutants {
		for kind, versions := range kinds {
			t.Run(m.name+"/"+versions, func(t *testing.T) {
				t.Parallel()
				scenarios := slices.Concat(f.two(), withTarget(f.two()))
				i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == m.in })
				_, err := newExplorer(kind, scenarios[i], m).walk(1, 1)
				var v *violation
				if !errors.As(err, &v) || v.property != m.killedBy {
					t.Fatalf("got %v, want a violation of %q", err, m.killedBy)
				}
			})
		}
	}
}
