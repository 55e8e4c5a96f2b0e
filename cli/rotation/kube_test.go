package rotation

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	account   = "kube-iam-assume/cluster-exporter"
	poll      = 500 * time.Millisecond
	cacheTime = 3 * time.Second
	life      = 6 * time.Second
	skew      = time.Second
	slack     = 5 * time.Second // of a machine with much else to do
)

// site serves an issuer's keys; a test changes them.
type site struct {
	*httptest.Server
	mu   sync.Mutex
	keys jwks.Set
}

func newSite(t *testing.T, keys ...*kube.Key) *site {
	t.Helper()
	s := &site{}
	s.set(t, keys...)
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Cache-Control", "public, max-age=2")
		_, _ = w.Write(s.keys.Encode())
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) set(t *testing.T, keys ...*kube.Key) {
	t.Helper()
	var set jwks.Set
	for _, key := range keys {
		jwk, err := jwks.New(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, jwk)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = set
}

// outcome is what a wait came to.
type outcome struct {
	evidence *Evidence
	err      error
}

// rolling is a rotation on three real API servers, one after the other.
type rolling struct {
	*testing.T
	cluster  *kube.Cluster
	old, new *kube.Key
	one, two *site
	caFile   string
}

func newRolling(t *testing.T) *rolling {
	t.Helper()
	r := &rolling{T: t, old: kube.NewKey(t, kube.P256), new: kube.NewKey(t, kube.P256)}
	r.cluster = kube.Start(t, kube.Options{APIServers: 3, Keys: kube.Keys{Sign: r.old}, Flags: []string{"--service-account-max-token-expiration=1h"}})
	r.cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	r.one, r.two = newSite(t, r.old), newSite(t, r.old)
	r.caFile = filepath.Join(t.TempDir(), "ca.pem")
	var all bytes.Buffer
	for _, s := range []*site{r.one, r.two} {
		all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	}
	if err := os.WriteFile(r.caFile, all.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rolling) flags() flags {
	return flags{account: account, caBundle: r.caFile, urls: []string{r.one.URL, r.two.URL}, config: r.cluster.AdminConfig(0)}
}

// start begins to wait.
func (r *rolling) start(g goal, timeout time.Duration) <-chan outcome {
	r.Helper()
	g.gap = time.Minute
	w := &waiting{flags: r.flags(), goal: g, poll: poll, timeout: timeout}
	s, err := w.sources(r.Context(), true)
	if err != nil {
		r.Fatal(err)
	}
	s.probe = g.life == 0
	done := make(chan outcome, 1)
	go func() {
		evidence, err := w.wait(r.Context(), s, io.Discard)
		done <- outcome{evidence, err}
	}()
	return done
}

func (r *rolling) reached(done <-chan outcome) *Evidence {
	r.Helper()
	o := <-done
	if o.err != nil || !o.evidence.Reached {
		r.Fatalf("%v: %+v", o.err, o.evidence)
	}
	return o.evidence
}

// restart gives one API server other keys and returns when all are listed again.
func (r *rolling) restart(server int, keys kube.Keys) {
	r.Helper()
	config := r.cluster.Servers[server].Config()
	config.Keys = keys
	r.cluster.Servers[server].Restart(r.T, config)
	r.cluster.WaitForEndpoints(r.T, 0, 1, 2)
}

// signed gets a token of one API server, and returns when that was.
func (r *rolling) signed(server int) time.Time {
	r.Helper()
	before := time.Now()
	r.cluster.Token(r.T, server, "kube-iam-assume", "cluster-exporter", []string{"anybody"}, 600)
	return before
}

func TestWaitDuringARollingRotation(t *testing.T) {
	t.Parallel()
	r := newRolling(t)
	both := []*kube.Key{r.old, r.new}

	// The new key appears at one URL, and later at the other. Meanwhile the API servers add it.
	done := r.start(goal{until: Published, keyIDs: []string{r.new.ID()}, cache: cacheTime}, 3*time.Minute)
	r.one.set(t, both...)
	r.restart(0, kube.Keys{Sign: r.old, Verify: both})
	published := time.Now()
	r.two.set(t, both...)
	appeared := time.Now()
	e := r.reached(done)
	if truth := published.Add(cacheTime); e.At.Before(truth) {
		t.Errorf("published is said at %s, the truth is %s", e.At, truth)
	}
	if late := e.Since.Sub(appeared); late > poll+slack {
		t.Errorf("it was seen %s after it was so, want at most one poll, %s", late, poll)
	}
	if late := e.At.Sub(e.Since.Add(cacheTime)); late > slack {
		t.Errorf("it is said %s after the cache time, want at once", late)
	}
	r.restart(1, kube.Keys{Sign: r.old, Verify: both})
	r.restart(2, kube.Keys{Sign: r.old, Verify: both})

	// The switch, one API server after the other; one of them goes back once.
	done = r.start(goal{until: Unused, keyIDs: []string{r.old.ID()}, life: life, skew: skew}, 3*time.Minute)
	for server := range 3 {
		r.signed(server)
		r.restart(server, kube.Keys{Sign: r.new, Verify: both})
	}
	r.restart(1, kube.Keys{Sign: r.old, Verify: both})
	last := r.signed(1)
	r.restart(1, kube.Keys{Sign: r.new, Verify: both})
	e = r.reached(done)
	if truth := last.Add(life + skew); e.At.Before(truth) {
		t.Errorf("unused is said at %s, a token of the old key was given at %s and lives until %s", e.At, last, truth)
	}
	r.cutOff()
	r.whatElse()
}

// cutOff is a wait that is started again with what the first one kept.
func (r *rolling) cutOff() {
	r.Helper()
	state := filepath.Join(r.TempDir(), "unused.json")
	run := func(timeout time.Duration) outcome {
		w := &waiting{
			flags: r.flags(), poll: poll, timeout: timeout, state: state,
			goal: goal{until: Unused, keyIDs: []string{r.old.ID()}, life: life, skew: skew, gap: time.Minute},
		}
		s, err := w.sources(r.Context(), true)
		if err == nil {
			err = w.identify(r.Context(), s)
		}
		if err != nil {
			r.Fatal(err)
		}
		evidence, err := w.wait(r.Context(), s, io.Discard)
		return outcome{evidence, err}
	}
	first := run(life / 2)
	if !errors.Is(first.err, ErrNotReached) || first.evidence == nil || first.evidence.Since == nil || first.evidence.Resumed {
		r.Fatalf("the first run: %v, %+v", first.err, first.evidence)
	}
	second := run(3 * time.Minute)
	if second.err != nil || !second.evidence.Resumed || !second.evidence.Since.Equal(*first.evidence.Since) || second.evidence.Looks <= first.evidence.Looks {
		r.Fatalf("the second run: %v, %+v", second.err, second.evidence)
	}
	if truth := first.evidence.Since.Add(life + skew); second.evidence.At.Before(truth) {
		r.Errorf("unused is said at %s, the truth is %s", second.evidence.At, truth)
	}
}

// whatElse is what the commands say of the cluster as it is now.
func (r *rolling) whatElse() {
	r.Helper()
	o := <-r.start(goal{until: Unused, keyIDs: []string{r.old.ID()}, skew: 5 * time.Minute}, 3*time.Second)
	if !errors.Is(o.err, ErrNotReached) || o.evidence == nil || o.evidence.Required != "1h5m0s" || !strings.Contains(o.evidence.Why, "lives 1h0m0s") {
		r.Errorf("the longest token: %v, %+v", o.err, o.evidence)
	}
	secret := &core.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "legacy", Annotations: map[string]string{core.ServiceAccountNameKey: "cluster-exporter"}}, Type: core.SecretTypeServiceAccountToken,
	}
	ctx := r.Context()
	if _, err := r.cluster.Admin(0).CoreV1().Secrets("kube-iam-assume").Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
	if names, problem := LegacySecrets(ctx, r.cluster.AdminConfig(0)); problem != "" || len(names) != 1 || names[0] != "kube-iam-assume/legacy" {
		r.Errorf("secrets: %v, %s", names, problem)
	}
	r.olderPods()
	f := r.flags()
	s, err := f.sources(ctx, true)
	if err != nil {
		r.Fatal(err)
	}
	status := look(ctx, s, 0, poll)
	if !strings.HasPrefix(status.Stage, "Two keys are listed, one signs") || len(status.Round.Servers) != 3 || !status.Round.Direct {
		r.Errorf("%+v", status)
	}
	if _, _, err := distribution.Detect(ctx, s.cluster.Client); !errors.Is(err, distribution.ErrNoNodes) {
		r.Error(err)
	}
	r.interrupted()
}

// olderPods are those that run, and were made before.
func (r *rolling) olderPods() {
	r.Helper()
	ctx, pods := r.Context(), r.cluster.Admin(0).CoreV1().Pods("kube-iam-assume")
	for name, phase := range map[string]core.PodPhase{"running": core.PodRunning, "done": core.PodSucceeded} {
		pod, err := pods.Create(ctx, &core.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       core.PodSpec{ServiceAccountName: "cluster-exporter", Containers: []core.Container{{Name: "main", Image: "example.com/none"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			r.Fatal(err)
		}
		pod.Status.Phase = phase
		if _, err := pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			r.Fatal(err)
		}
	}
	for before, want := range map[time.Duration]string{time.Hour: "[kube-iam-assume/running] ", -time.Hour: "[] "} {
		if names, problem := podsBefore(ctx, r.cluster.AdminConfig(0), time.Now().Add(before)); fmt.Sprint(names, " ", problem) != want {
			r.Errorf("pods: %v, %s, want %s", names, problem, want)
		}
	}
}

// A person who presses Ctrl-C gets what is known.
func (r *rolling) interrupted() {
	r.Helper()
	w := &waiting{flags: r.flags(), goal: goal{until: Published, keyIDs: []string{"nobody's"}, gap: time.Minute}, poll: time.Hour}
	s, err := w.sources(r.Context(), false)
	if err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	evidence, err := w.wait(ctx, s, writer(func([]byte) { cancel() }))
	if !errors.Is(err, ErrNotReached) || evidence.Reached || len(evidence.Missing) != 2 {
		r.Errorf("%v, %+v", err, evidence)
	}
}

type writer func([]byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
