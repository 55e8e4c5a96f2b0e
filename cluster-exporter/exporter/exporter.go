// Package exporter says what a cluster's keys are: it reads every API server, has each vouch for its snapshot key, and sends signed
// snapshots to publishers.
//
// Replicas are independent witnesses: each has a snapshot key of its own, in memory, and sends; nobody is elected. Nothing is kept
// between runs and no credential is held but the service account's own token.
package exporter

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Options is what an Exporter is made of, besides its settings. Only Access is needed.
type Options struct {
	Access     Access
	Logger     *slog.Logger
	Version    string
	Deployment string // what Events are about; empty for the pod, or without one the service account
	PodName    string
	PodUID     string
	Now        func() time.Time
}

// Exporter is one replica.
type Exporter struct {
	settings Settings
	logger   *slog.Logger
	now      func() time.Time
	reader   *reader
	signer   *signer
	workers  []*worker
	report   *reporter
	metrics  *metrics
	again    chan struct{} // read now
	running  atomic.Int32  // loops
}

// New makes a replica and its snapshot key. It reads the bundles of authorities and sends nothing. The error is ErrAccess, or says which
// bundle can't be used.
func New(settings Settings, options Options) (*Exporter, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	options.Access = completed(options.Access, settings.APIServers)
	if options.Access.Address == "" {
		return nil, fmt.Errorf("%w: no address: outside a pod, name an API server with --api-server, or all in apiServers.addresses", ErrAccess)
	}
	if _, err := options.Access.authority(); err != nil {
		return nil, err
	}
	key, err := snapshot.NewSigner()
	if err != nil {
		return nil, err
	}
	metrics := newMetrics(options.Version)
	e := &Exporter{
		settings: settings, logger: options.Logger, now: options.Now, metrics: metrics, again: make(chan struct{}, 1),
		reader: newReader(settings, options.Access, options.Now), report: newReporter(settings, options, metrics),
	}
	e.signer = &signer{settings: settings, key: key, version: options.Version, now: options.Now, report: e.report}
	for _, destination := range settings.Destinations {
		sender, err := newSender(settings, destination)
		if err != nil {
			return nil, err
		}
		metrics.delivered.WithLabelValues(destination.Publisher) // 0, so that one that never succeeds is seen
		e.workers = append(e.workers, &worker{
			publisher: destination.Publisher, sender: sender, signer: e.signer, report: e.report, now: e.now, readAgain: e.readAgain,
			newest: make(chan *Reading, 1), schedule: newSchedule(settings.HeartbeatInterval),
		})
	}
	return e, nil
}

func completed(access Access, servers APIServers) Access {
	access.serverName = servers.ServerName
	if servers.CAFile != "" {
		access.CAFile = servers.CAFile
	}
	if access.Address == "" && len(servers.Addresses) > 0 {
		access.Address = servers.Addresses[0]
	}
	return access
}

// Run reads and sends until the context ends, and returns when everything it started has ended.
func (e *Exporter) Run(ctx context.Context) {
	e.logger.InfoContext(ctx, "exporter started", "settings", e.settings.String(), "snapshotKey", e.signer.key.Key().ID(), "version", e.signer.version)
	var all sync.WaitGroup
	start := func(loop func(context.Context)) {
		all.Go(func() {
			e.running.Add(1)
			defer e.running.Add(-1)
			loop(ctx)
		})
	}
	start(e.report.events.run)
	for _, w := range e.workers {
		start(w.run)
	}
	start(e.poll)
	all.Wait()
	e.reader.forgetOthers(nil)
	e.logger.InfoContext(ctx, "exporter stopped")
}

func (e *Exporter) loops() int { return len(e.workers) + 2 }

func (e *Exporter) poll(ctx context.Context) {
	ticker := time.NewTicker(e.settings.PollInterval)
	defer ticker.Stop()
	for {
		e.readAndOffer(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-e.again:
		}
	}
}

func (e *Exporter) readAgain() {
	select {
	case e.again <- struct{}{}:
	default:
	}
}

func (e *Exporter) readAndOffer(ctx context.Context) {
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

// SnapshotKeyID is the RFC 7638 thumbprint of the replica's snapshot key.
func (e *Exporter) SnapshotKeyID() string { return e.signer.key.Key().ID() }

// Handler serves /metrics, /healthz (the loop turns) and /readyz (every loop runs, and an API server has answered since the start,
// whatever its issuer).
func (e *Exporter) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", e.metrics.handler())
	mux.HandleFunc("GET /healthz", status(e.healthy))
	mux.HandleFunc("GET /readyz", status(e.ready))
	return mux
}

func (e *Exporter) healthy() bool {
	polled, _ := e.report.state()
	return e.now().Sub(polled) < 2*maxPollInterval
}

func (e *Exporter) ready() bool {
	_, answered := e.report.state()
	return answered && int(e.running.Load()) == e.loops()
}

func status(good func() bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if !good() {
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "ok\n")
	}
}
