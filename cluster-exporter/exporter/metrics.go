package exporter

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the exporter's own; their names are an interface.
type metrics struct {
	registry   *prometheus.Registry
	listed     prometheus.Gauge
	read       prometheus.Gauge
	union      prometheus.Gauge
	began      prometheus.Gauge
	keys       *prometheus.GaugeVec
	skew       *prometheus.GaugeVec
	signing    *prometheus.GaugeVec
	reads      *prometheus.CounterVec
	deliveries *prometheus.CounterVec
	accepted   *prometheus.GaugeVec
	problems   *prometheus.GaugeVec
}

func newMetrics(version string) *metrics {
	const ns = "kube_iam_assume_exporter"
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: ns, Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Name: name, Help: help}, labels)
	}
	single := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Name: name, Help: help})
	}
	m := &metrics{
		registry:   prometheus.NewRegistry(),
		listed:     single("api_servers_listed", "API servers that there are."),
		read:       single("api_servers_read", "API servers that were read and have the configured issuer."),
		union:      single("keys", "Keys in the union that is sent."),
		began:      single("last_reading_timestamp_seconds", "When the newest reading that can be sent began; its age is the age of what snapshots say."),
		keys:       gauge("api_server_keys", "Keys that an API server lists.", "server"),
		skew:       gauge("api_server_clock_skew_seconds", "How far an API server's clock is ahead of this one.", "server"),
		signing:    gauge("api_server_signing_key_info", "The key that an API server signed with when it last vouched.", "server", "key_id"),
		reads:      counter("reads_total", "Readings of an API server by result: ok, other-issuer, unreachable; and failed, of the cluster.", "result"),
		deliveries: counter("deliveries_total", "Snapshots sent by publisher, result (accepted, queued, superseded, refused, failed) and the publisher's code.", "publisher", "result", "code"),
		accepted:   gauge("last_accepted_timestamp_seconds", "When a publisher last accepted a snapshot.", "publisher"),
		problems:   gauge("problem", "1 while something is wrong that the Event of the same reason describes.", "reason", "about"),
	}
	build := gauge("build_info", "The exporter's version.", "version")
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.listed, m.read, m.union, m.began, m.keys, m.skew, m.signing, m.reads, m.deliveries, m.accepted, m.problems,
		build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// forgetServer drops the series of an API server that is gone.
func (m *metrics) forgetServer(address string) {
	of := prometheus.Labels{"server": address}
	m.keys.DeletePartialMatch(of)
	m.skew.DeletePartialMatch(of)
	m.signing.DeletePartialMatch(of)
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
