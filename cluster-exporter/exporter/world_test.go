package exporter_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

const (
	issuer    = "https://oidc.example.com/prod"
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
	patience  = 20 * time.Second
)

var a, b, c = must(standin.NewRSAKey()), must(standin.NewECKey()), must(standin.NewECKey())

// otherRSA is for Entra, which takes no other kind.
var otherRSA = must(standin.NewRSAKey())

// world is a control plane, a publisher, and what a pod of the exporter is given.
type world struct {
	*testing.T
	*standin.Cluster
	publisher *publisher
	token     string // file
	ca        string // file
	log       *buffer
}

// newWorld starts API servers that sign with a, list it, and are listed under addresses that only Dial can reach.
func newWorld(t *testing.T, servers int) *world {
	t.Helper()
	cluster, err := standin.Start(standin.Options{Issuer: issuer, Servers: servers, Sign: a, AdvertisePrefix: "198.51.100."})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	folder := t.TempDir()
	w := &world{
		T: t, Cluster: cluster, publisher: newPublisher(t, cluster), token: filepath.Join(folder, "token"), ca: filepath.Join(folder, "ca.crt"),
		log: &buffer{},
	}
	w.write(w.ca, cluster.CA)
	w.renewToken(0)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the exporter:\n%s", w.log)
		}
	})
	return w
}

// renewToken is what the kubelet does, through one of the API servers.
func (w *world) renewToken(server int) {
	w.Helper()
	w.write(w.token, []byte(must(w.Servers[server].PodToken(namespace, account, "exporter-0", nil, 600))))
}

// write replaces a file at once, as projected volumes do.
func (w *world) write(path string, data []byte) {
	w.Helper()
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		w.Fatal(err)
	}
}

// settings are those of the file, in a hurry.
func (w *world) settings() exporter.Settings {
	w.Helper()
	s := must(exporter.ParseSettings("exporter.yaml", []byte(`
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: prod
issuer: `+issuer+`
destinations: [{publisher: test, webhook: {url: "`+w.publisher.URL+`/v1/snapshots", caBundle: `+w.publisher.bundle+`}}]
`)))
	s.PollInterval = 20 * time.Millisecond
	return s
}

func (w *world) options() exporter.Options {
	return exporter.Options{
		Access: exporter.Access{Address: standin.ServiceAddress, CAFile: w.ca, TokenFile: w.token, Dial: w.Dial},
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)), Version: "1.2.3", Deployment: account, PodName: "exporter-0", PodUID: "uid-0",
	}
}

// start runs a replica until the test ends or the function is called.
func (w *world) start(settings exporter.Settings) (*exporter.Exporter, func()) {
	w.Helper()
	e, err := exporter.New(settings, w.options())
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(patience):
			w.Error("Run does not end")
		}
	})
	w.Cleanup(stop)
	return e, stop
}

// eventually polls a condition, for what nothing announces.
func (w *world) eventually(what string, condition func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not after %s: %s", patience, what)
		}
	}
}

// waitEvent waits for an Event of a reason with all of these words.
func (w *world) waitEvent(reason string, words ...string) {
	w.Helper()
	w.eventually(fmt.Sprintf("Event %s with %q; there are %v", reason, words, w.reasons()), func() bool {
		for _, e := range w.Events() {
			if e.Reason == reason && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Message, word) }) {
				return true
			}
		}
		return false
	})
}

func (w *world) reasons() []string {
	var reasons []string
	for _, e := range w.Events() {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// get asks the exporter's own web server.
func get(e *exporter.Exporter, path string) (status int, body string) {
	recorder := httptest.NewRecorder()
	e.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return recorder.Code, recorder.Body.String()
}

// waitMetric waits until a line of the metrics is there.
func (w *world) waitMetric(e *exporter.Exporter, line string) {
	w.Helper()
	w.eventually("metric "+line, func() bool {
		_, body := get(e, "/metrics")
		return strings.Contains("\n"+body, "\nkube_iam_assume_exporter_"+line+"\n")
	})
}

// publisher opens, checks and believes every snapshot as a real one does, and answers as the test wants.
type publisher struct {
	*httptest.Server
	t       *testing.T
	bundle  string
	arrived chan snapshot.Opened

	mu     sync.Mutex
	trust  jwks.Set
	seq    int64
	answer func(w http.ResponseWriter, got snapshot.Opened) bool // true if it answered
}

func newPublisher(t *testing.T, cluster *standin.Cluster) *publisher {
	t.Helper()
	p := &publisher{t: t, bundle: filepath.Join(t.TempDir(), "publisher.pem"), arrived: make(chan snapshot.Opened, 1000), trust: jwks.Set{a.Key, b.Key, c.Key, otherRSA.Key}}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	p.StartTLS()
	t.Cleanup(p.Close)
	if err := os.WriteFile(p.bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = cluster
	return p
}

func (p *publisher) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/v1/snapshots" || r.Header.Get("Content-Type") != "application/jose" {
		p.t.Errorf("%s %s with %q", r.Method, r.URL, r.Header.Get("Content-Type"))
	}
	opened, err := snapshot.Open(must(io.ReadAll(r.Body)))
	if err == nil {
		err = opened.Check(snapshot.Expected{Cluster: "prod", Publisher: "test", Issuer: issuer}, time.Now())
	}
	if err == nil {
		_, err = opened.Believe(snapshot.Trust{Issuer: issuer, ServiceAccount: namespace + "/" + account, Vouchers: p.trust}, time.Now())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil || opened.Seq <= p.seq {
		p.t.Errorf("seq %d after %d: %v", opened.Seq, p.seq, err)
	}
	p.seq = opened.Seq
	p.arrived <- opened
	if p.answer == nil || !p.answer(w, opened) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"status":"accepted","seq":%d,"publication":1}`, opened.Seq)
	}
}

// answers makes the publisher answer so from now on; nil accepts.
func (p *publisher) answers(f func(http.ResponseWriter, snapshot.Opened) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = f
}

// wait returns the first snapshot that fits, and forgets those before it.
func (p *publisher) wait(fits func(snapshot.Opened) bool) snapshot.Opened {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case got := <-p.arrived:
			if fits(got) {
				return got
			}
		case <-deadline:
			p.t.Fatal("no such snapshot arrived")
		}
	}
}

func (p *publisher) silent(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case got := <-p.arrived:
		t.Errorf("a snapshot arrived: %v of %+v", got.Keys.IDs(), got.APIServers)
	case <-time.After(within):
	}
}

func says(servers snapshot.APIServers, keys ...*standin.Key) func(snapshot.Opened) bool {
	return func(got snapshot.Opened) bool {
		var want jwks.Set
		for _, key := range keys {
			want = append(want, key.Key)
		}
		return got.APIServers == servers && bytes.Equal(got.Keys.Canonical(), want.Canonical())
	}
}

func of(read, listed int) snapshot.APIServers { return snapshot.APIServers{Listed: listed, Read: read} }

func anySnapshot(snapshot.Opened) bool { return true }

func problem(status int, code string, more string) func(http.ResponseWriter, snapshot.Opened) bool {
	return func(w http.ResponseWriter, _ snapshot.Opened) bool {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"about:blank","title":"x","status":%d,"code":%q,"instance":"I1"%s}`, status, code, more)
		return true
	}
}

type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
