// Package exporter says what a cluster's keys are: it reads every API server, has each vouch for its snapshot key, and sends signed
// snapshots to publishers.
//
// Replicas are independent witnesses: each has a snapshot key of its own, in memory, and sends; nobody is elected. Nothing is kept
// between runs and no credential is held but the service account's own token.
package exporter

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Options is what an Exporter is made of, besides its settings.
type Options struct {
	Access  Access
	Logger  *slog.Logger
	Version string
	PodName string // what Events are about; empty for the service account
	Now     func() time.Time
}

// Exporter is one replica.
type Exporter struct {
	settings Settings
	options  Options
	reader   *reader
	signer   *snapshot.Signer
	workers  []*worker
	report   *reporter
	metrics  *metrics

	mu  sync.Mutex
	seq int64
}

// New makes a replica and its snapshot key. It reads the CA bundle and sends nothing.
func New(settings Settings, options Options) (*Exporter, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	signer, err := snapshot.NewSigner()
	if err != nil {
		return nil, err
	}
	metrics := newMetrics(options.Version)
	e := &Exporter{
		settings: settings, options: options, signer: signer, metrics: metrics,
		reader: newReader(settings, options.Access, options.Now),
	}
	if e.report, err = newReporter(e); err != nil {
		return nil, err
	}
	transport, err := destinationTransport(settings)
	if err != nil {
		return nil, err
	}
	for _, destination := range settings.Destinations {
		e.workers = append(e.workers, newWorker(e, destination, transport))
	}
	return e, nil
}

// destinationTransport goes through the proxy of the settings, or of the environment, and trusts the system's authorities and those of
// the settings.
func destinationTransport(settings Settings) (http.RoundTripper, error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("http.DefaultTransport was replaced")
	}
	transport = transport.Clone()
	if proxy := settings.proxyURL(); proxy != nil {
		transport.Proxy = http.ProxyURL(proxy)
	}
	if settings.CABundle == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(settings.CABundle)
	if err != nil {
		return nil, fmt.Errorf("caBundle: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("caBundle: %s holds no certificate", settings.CABundle)
	}
	transport.TLSClientConfig = tlsConfig(roots)
	return transport, nil
}

// Run reads and sends until the context ends.
func (e *Exporter) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { e.report.run(ctx) })
	for _, w := range e.workers {
		all.Go(func() { w.run(ctx) })
	}
	e.options.Logger.InfoContext(ctx, "exporter started", "settings", e.settings.String(), "snapshotKey", e.signer.Key().ID(), "version", e.options.Version)
	ticker := time.NewTicker(e.settings.PollInterval)
	defer ticker.Stop()
	for {
		e.poll(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (e *Exporter) poll(ctx context.Context) {
	reading, err := e.reader.read(ctx)
	if ctx.Err() != nil {
		return
	}
	e.report.reading(reading, err)
	if err != nil || reading.APIServers.Read == 0 {
		return
	}
	for _, w := range e.workers {
		w.offer(reading)
	}
}

// sign makes a snapshot of a reading, freshly attested.
func (e *Exporter) sign(ctx context.Context, reading *Reading, publisher string) (envelope []byte, seq int64, err error) {
	attestations := e.attest(ctx, reading)
	now := e.options.Now()
	seq = e.nextSeq(reading.Began)
	s := snapshot.Snapshot{
		Cluster: e.settings.Cluster, Audience: []string{publisher}, Issuer: e.settings.Issuer, Seq: seq,
		IssuedAt: now, Expires: now.Add(snapshot.Lifetime), APIServers: reading.APIServers, Keys: reading.Keys,
		Attestations: attestations, Exporter: e.options.Version,
	}
	envelope, err = e.signer.Sign(s)
	for errors.Is(err, snapshot.ErrTooLarge) && len(s.Attestations) > 1 { // distinct keys come first, so the last is the least missed
		s.Attestations = s.Attestations[:len(s.Attestations)-1]
		envelope, err = e.signer.Sign(s)
	}
	return envelope, seq, err
}

// attest has every API server that was read vouch for the snapshot key, those of distinct keys first.
func (e *Exporter) attest(ctx context.Context, reading *Reading) []string {
	namespace, name := e.settings.namespaceAndName()
	audience := snapshot.AttestationAudience(e.signer.Key())
	type word struct{ token, keyID string }
	words := make([]word, len(reading.Servers))
	var all sync.WaitGroup
	for i, s := range reading.Servers {
		if s.Err != nil || s.Issuer != e.settings.Issuer {
			continue
		}
		all.Go(func() {
			token, keyID, err := s.server.attest(ctx, namespace, name, audience)
			e.report.signing(s, keyID, err)
			words[i] = word{token, keyID}
		})
	}
	all.Wait()
	var first, rest []string
	var seen []string
	for _, w := range words {
		switch {
		case w.token == "":
		case slices.Contains(seen, w.keyID):
			rest = append(rest, w.token)
		default:
			seen, first = append(seen, w.keyID), append(first, w.token)
		}
	}
	tokens := append(first, rest...)
	return tokens[:min(len(tokens), snapshot.MaxAttestations)]
}

func (e *Exporter) nextSeq(began time.Time) int64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq = max(e.seq+1, began.UnixMilli())
	return e.seq
}

// goOnFrom takes over a sequence number that a publisher has accepted from this cluster.
func (e *Exporter) goOnFrom(seq int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seq = max(e.seq, seq)
}

// Handler serves /metrics, /healthz (the loop turns) and /readyz (an API server has been read since the start).
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.metrics.handler())
	mux.HandleFunc("GET /healthz", e.health(func() bool { return e.options.Now().Sub(e.report.lastPoll()) < 2*time.Minute }))
	mux.HandleFunc("GET /readyz", e.health(func() bool { return !e.report.lastAnswer().IsZero() }))
	return mux
}

func (e *Exporter) health(good func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !good() {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	}
}
