// Package sim runs a publisher against a simulated control plane for a long time and compares what it publishes with an oracle that
// knows which tokens exist. The schedule is a seed; STEPS makes it longer, SEED repeats one.
package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	defaultSteps = 40_000
	reaction     = 60 * time.Hour // of an operator to an alarm: longer than the retention
)

var cluster = snapshottest.Cluster{ID: "prod", Issuer: "https://127.0.0.1:1/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}

// fuse is a bucket whose user dies at some call, before or after it took effect.
type fuse struct {
	bucket.Bucket
	left *int
	die  func()
}

var errCrash = errors.New("crashed")

func (f fuse) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if *f.left--; *f.left < 0 {
		f.die()
		return bucket.Object{}, "", errCrash
	}
	return f.Bucket.Get(ctx, name)
}

func (f fuse) Put(ctx context.Context, name string, o bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if *f.left--; *f.left < 0 {
		if *f.left == -1 && len(o.Body)%2 == 0 { // either is as good: the write took effect, or not
			_, _ = f.Bucket.Put(ctx, name, o, seen)
		}
		f.die()
		return "", errCrash
	}
	return f.Bucket.Put(ctx, name, o, seen)
}

type simulation struct {
	*testing.T
	*control
	now, clockOff   time.Time // the publisher's clock is wrong until clockOff
	jump            time.Duration
	stored, private *memory.Bucket
	exporters       []*snapshottest.Exporter
	settings        enrollment.Publisher
	flight          [][]byte // snapshots under way, in no order
	counts          map[string]int
}

func TestLongSimulation(t *testing.T) {
	t.Parallel()
	steps, seed := defaultSteps, rand.Uint64()
	if s := os.Getenv("STEPS"); s != "" {
		steps = must(strconv.Atoi(s))
	}
	if s := os.Getenv("SEED"); s != "" {
		seed = must(strconv.ParseUint(s, 10, 64))
	}
	t.Logf("SEED=%d STEPS=%d", seed, steps)
	sim := newSimulation(t, seed, 2*tokenLife)
	if err := sim.run(steps); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s of simulated time: %v", sim.now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), sim.counts)
	for _, what := range []string{"accepted", "refused", "crash", "replay", "forgery", "jump", "gone"} {
		if steps >= defaultSteps && sim.counts[what] == 0 {
			t.Errorf("%q never happened: the simulation proves less than it says", what)
		}
	}
}

// The oracle is only worth what it can catch.
func TestOracleSeesAShortRetention(t *testing.T) {
	t.Parallel()
	err := newSimulation(t, 1, tokenLife/2).run(defaultSteps)
	if err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Fatalf("got %v, want a missing key: the retention is half a token's life", err)
	}
}

func newSimulation(t *testing.T, seed uint64, retention time.Duration) *simulation {
	s := &simulation{
		T: t, control: newControl(rand.New(rand.NewPCG(seed, 0))),
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), counts: map[string]int{},
		stored: memory.New(memory.ContentVersions), private: memory.New(memory.UniqueVersions),
		exporters: []*snapshottest.Exporter{cluster.NewExporter("p"), cluster.NewExporter("p")},
	}
	s.settings = enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
		URL: cluster.Issuer, Path: "prod", Retention: retention,
		Clusters: []enrollment.Cluster{{ID: cluster.ID, Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: jwks.Set{s.old.Key.Key}}},
	}}}
	s.publisher(1000, func(ctx context.Context, p *publish.Publisher) error { return p.Reconcile(ctx) })
	return s
}

// publisher runs one invocation of a new process that dies after some calls.
func (s *simulation) publisher(calls int, run func(context.Context, *publish.Publisher) error) {
	ctx, die := context.WithCancel(context.Background())
	defer die()
	left := calls
	p := must(publish.New(publish.Config{
		Settings: s.settings, Documents: fuse{s.stored, &left, die}, Private: fuse{s.private, &left, die},
		Now: func() time.Time {
			if s.now.Before(s.clockOff) {
				return s.now.Add(s.jump)
			}
			return s.now
		},
	}))
	err := run(ctx, p)
	var refusal *publish.Refusal
	switch {
	case left < 0:
		s.counts["crash"]++
	case err == nil:
		s.counts["accepted"]++
	case errors.As(err, &refusal):
		s.counts["refused"]++
	default:
		s.Fatalf("neither accepted nor refused: %v", err)
	}
}

func (s *simulation) run(steps int) error {
	for range steps {
		s.step()
		if err := s.check(); err != nil {
			return fmt.Errorf("at %s: %w", s.now, err)
		}
	}
	return nil
}

func (s *simulation) calls() int {
	if s.IntN(10) == 0 {
		return s.IntN(8)
	}
	return 1000
}

func (s *simulation) step() {
	s.now = s.now.Add(time.Duration(s.Int64N(int64(4 * time.Minute))))
	s.signTokens(s.now)
	switch n := s.IntN(100); {
	case n < 10:
		s.rotate(func(k *key) bool { return s.isPublished(k.ID()) })
	case n < 13:
		s.flap(s.now)
	case n < 45:
		if envelope := s.snapshot(s.exporters[s.IntN(2)], s.now); envelope != nil {
			s.flight = append(s.flight, envelope)
		}
	case n < 75:
		s.deliver()
	case n < 93:
		s.publisher(s.calls(), func(ctx context.Context, p *publish.Publisher) error { return p.Reconcile(ctx) })
		s.answerAlarm()
	case n < 95:
		s.exporters[s.IntN(2)] = cluster.NewExporter("p") // a replica restarts
	case n < 98:
		s.attack()
	default:
		s.jumpClock()
	}
}

// deliver takes any snapshot under way: some are lost, some come twice, some late.
func (s *simulation) deliver() {
	if len(s.flight) == 0 {
		return
	}
	i := len(s.flight) - 1
	if s.IntN(3) == 0 {
		i = s.IntN(len(s.flight))
	}
	envelope := s.flight[i]
	switch s.IntN(10) {
	case 0: // lost
		s.flight = slices.Delete(s.flight, i, i+1)
		return
	case 1: // comes again
		s.counts["replay"]++
	default:
		s.flight = slices.Delete(s.flight, i, i+1)
	}
	s.publisher(s.calls(), func(ctx context.Context, p *publish.Publisher) error { _, err := p.Accept(ctx, envelope); return err })
	if len(s.flight) > 20 {
		s.flight = s.flight[10:]
	}
}

// attack sends a key of the thief's on the word of a key that he found: his own, or one that the publisher knows to be out of use.
func (s *simulation) attack() {
	rogue := snapshottest.NewKey()
	voucher := rogue
	for _, k := range s.all {
		if k.rotatedOut && !s.vouches(k) {
			voucher = k.Key
		}
	}
	thief := cluster.NewExporter("p")
	envelope := thief.Send(s.now, []snapshottest.Key{s.old.Key, rogue}, voucher)
	s.counts["forgery"]++
	s.publisher(1000, func(ctx context.Context, p *publish.Publisher) error { _, err := p.Accept(ctx, envelope); return err })
}

// answerAlarm is an operator who does as the alarm about a silent cluster says, though late: enroll it with the keys that the API
// servers list now.
func (s *simulation) answerAlarm() {
	c, _ := s.state().Cluster(cluster.ID)
	if s.now.Sub(c.Received) < reaction || s.now.Sub(c.Enrolled) < reaction {
		return
	}
	var keys jwks.Set
	for _, server := range s.servers {
		for _, k := range server.listed {
			if _, ok := keys.ByID(k.ID()); server.up(s.now) && !ok {
				keys = append(keys, k.Key.Key)
			}
		}
	}
	if len(keys) == 0 {
		return
	}
	s.counts["enrolled"]++
	s.publisher(1000, func(ctx context.Context, p *publish.Publisher) error {
		_, err := p.Operate(ctx, rotation.Statement{Issuer: cluster.Issuer, Cluster: cluster.ID, Action: rotation.Enroll, Keys: keys, Reason: "stale"})
		return err
	})
}

// jumpClock makes the publisher's clock wrong for less than the time after which a doubtful clock is believed. Between two jumps somebody looks
// at the right one: two that agree by chance are what no second look can tell from the truth.
func (s *simulation) jumpClock() {
	if s.now.Before(s.clockOff) {
		return
	}
	s.publisher(1000, func(ctx context.Context, p *publish.Publisher) error { return p.Reconcile(ctx) })
	s.counts["jump"]++
	s.jump = time.Duration(s.Int64N(int64(20*24*time.Hour))) - 10*24*time.Hour
	s.clockOff = s.now.Add(time.Duration(s.Int64N(int64(9 * time.Minute))))
}

func (s *simulation) vouches(k *key) bool {
	c, _ := s.state().Cluster(cluster.ID)
	return slices.ContainsFunc(c.Keys, func(published rotation.Key) bool {
		return published.JWK.SPKI() == k.SPKI() && published.Status != rotation.Retiring
	})
}

func (s *simulation) state() rotation.State {
	p := must(publish.New(publish.Config{Settings: s.settings, Documents: s.stored, Private: s.private}))
	return must(p.State(context.Background(), cluster.Issuer))
}

func (s *simulation) published() jwks.Set {
	object, _, err := s.stored.Get(context.Background(), "prod/openid/v1/jwks")
	if err != nil {
		s.Fatal(err)
	}
	return must(jwks.Parse(object.Body))
}

func (s *simulation) isPublished(id string) bool { _, ok := s.published().ByID(id); return ok }

// check is the oracle.
func (s *simulation) check() error {
	published := s.published()
	for _, k := range published {
		if !slices.ContainsFunc(s.all, func(own *key) bool { return own.SPKI() == k.SPKI() }) {
			return fmt.Errorf("key %s is published, and no API server ever had it", k.ID())
		}
	}
	for i := len(s.all) - 1; i >= 0; i-- {
		k := s.all[i]
		_, ok := published.ByID(k.ID())
		if !ok && !k.lastSigned.IsZero() && s.now.Before(k.lastSigned.Add(tokenLife)) {
			return fmt.Errorf("key %s is missing, and a token it signed at %s is not expired", k.ID(), k.lastSigned)
		}
		if !ok && k.rotatedOut {
			s.counts["gone"]++
			s.all = slices.Delete(s.all, i, i+1)
		}
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
