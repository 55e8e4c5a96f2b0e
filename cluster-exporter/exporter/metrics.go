package exporter

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the exporter's own. Their names, labels and meanings are an interface, which docs/metrics.md repeats.
type metrics struct {
	registry    *prometheus.Registry
	listed      prometheus.Gauge
	read        prometheus.Gauge
	skipped     *prometheus.GaugeVec
	union       prometheus.Gauge
	disagreeing prometheus.Gauge
	began       prometheus.Gauge
	keys        *prometheus.GaugeVec
	skew        *prometheus.GaugeVec
	signing     *prometheus.GaugeVec
	reads       *prometheus.CounterVec
	deliveries  *prometheus.CounterVec
	delivered   *prometheus.GaugeVec
	accepted    *prometheus.GaugeVec
	problems    *prometheus.GaugeVec
	build       *prometheus.GaugeVec
}

const metricsNamespace = "kube_iam_assume_exporter"

// Results of reading an API server, and reasons why one is skipped.
const (
	readOK          = "ok"
	readOtherIssuer = "other-issuer"
	readUnreachable = "unreachable"
	readUnlisted    = "not-listed" // there may be one more than is known
	readNothing     = "failed"
)

func newMetrics(version string) *metrics {
	m := &metrics{
		registry:    prometheus.NewRegistry(),
		listed:      gauge("api_servers_listed", "API servers that there are."),
		read:        gauge("api_servers_read", "API servers that were read and have the configured issuer."),
		skipped:     gauges("api_servers_skipped", "API servers that the last reading left out, by reason: unreachable, other-issuer, or not-listed if nobody could be asked for all of them.", "reason"),
		union:       gauge("keys", "Keys in the union that is sent."),
		disagreeing: gauge("disagreeing_keys", "Keys that one API server lists and another does not; 0 when all agree."),
		began:       gauge("last_reading_timestamp_seconds", "When the newest reading that can be sent began; its age is the age of what snapshots say. 0 before the first."),
		keys:        gauges("api_server_keys", "Keys that an API server lists.", "server"),
		skew:        gauges("api_server_clock_skew_seconds", "How far an API server's clock (its Date header) is ahead of this one, in whole seconds.", "server"),
		signing:     gauges("api_server_signing_key_info", "The key that an API server signed with when it last vouched.", "server", "key_id"),
		reads:       counters("reads_total", "Readings of an API server by result: ok, other-issuer, unreachable; and failed, of the cluster.", "result"),
		deliveries:  counters("deliveries_total", "Snapshots sent, by publisher, result (accepted, queued, superseded, refused, failed) and the publisher's code.", "publisher", "result", "code"),
		delivered:   gauges("last_delivery_timestamp_seconds", "When a snapshot was last accepted by a publisher, or taken by its queue. 0 if not since the start.", "publisher"),
		accepted:    gauges("last_accepted_timestamp_seconds", "When a publisher last accepted a snapshot. Not there for one behind a queue, whose answer nobody sees.", "publisher"),
		problems:    gauges("problem", "1 while something is wrong that the Event of the same reason describes.", "reason", "about"),
		build:       gauges("build_info", "The exporter's version.", "version"),
	}
	m.registry.MustRegister(m.listed, m.read, m.skipped, m.union, m.disagreeing, m.began, m.keys, m.skew, m.signing, m.reads, m.deliveries,
		m.delivered, m.accepted, m.problems, m.build)
	m.build.WithLabelValues(version).Set(1)
	for _, result := range []string{readOK, readOtherIssuer, readUnreachable, readNothing} {
		m.reads.WithLabelValues(result)
	}
	return m
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help})
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Name: name, Help: help}, labels)
}

// skip counts the API servers that a reading left out.
func (m *metrics) skip(byReason map[string]int) {
	for _, reason := range []string{readOtherIssuer, readUnreachable, readUnlisted} {
		m.skipped.WithLabelValues(reason).Set(float64(byReason[reason]))
	}
}

// forgetServer drops the series of an API server that is gone.
func (m *metrics) forgetServer(address string) {
	of := prometheus.Labels{"server": address}
	m.keys.DeletePartialMatch(of)
	m.skew.DeletePartialMatch(of)
	m.signing.DeletePartialMatch(of)
}

// handler serves them, and those of every Go program.
func (m *metrics) handler() http.Handler {
	process := prometheus.NewRegistry()
	process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(prometheus.Gatherers{m.registry, process}, promhttp.HandlerOpts{})
}
