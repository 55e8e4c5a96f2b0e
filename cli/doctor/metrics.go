package doctor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// prefix begins the name of every metric of the exporter.
const prefix = "kube_iam_assume_exporter_"

const (
	plainTimeout = 5 * time.Second
	maxMetrics   = 4 << 20
)

// sample is one line of the exporter's metrics.
type sample struct {
	name    string // without the prefix
	labels  map[string]string
	value   float64
	replica string // whose it is, if that is known
}

type metrics struct {
	samples []sample
	err     error
}

var errNoMetrics = errors.New("no metric of the exporter is among what it answers")

var (
	sampleLine = regexp.MustCompile(`^` + prefix + `([a-z_]+)(?:\{(.*)\})? ([^ ]+)$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"`)
	unescape   = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n")
)

// parseMetrics reads the exporter's own series from the text format of Prometheus; it passes over everything else.
func parseMetrics(text []byte) metrics {
	var m metrics
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, maxMetrics)
	for lines.Scan() {
		match := sampleLine.FindStringSubmatch(lines.Text())
		if match == nil {
			continue
		}
		value, err := strconv.ParseFloat(match[3], 64)
		if err != nil {
			continue
		}
		s := sample{name: match[1], labels: map[string]string{}, value: value}
		for _, pair := range labelPair.FindAllStringSubmatch(match[2], -1) {
			s.labels[pair[1]] = unescape.Replace(pair[2])
		}
		m.samples = append(m.samples, s)
	}
	if len(m.samples) == 0 {
		m.err = errNoMetrics
	}
	return m
}

func (m metrics) named(name string) []sample {
	var all []sample
	for _, s := range m.samples {
		if s.name == name {
			all = append(all, s)
		}
	}
	return all
}

// single is the value of a metric without labels; 0 if there is none.
func (m metrics) single(name string) float64 {
	for _, s := range m.named(name) {
		return s.value
	}
	return 0
}

func (m metrics) at(name string) time.Time { return seconds(m.single(name)) }

func seconds(value float64) time.Time { return time.UnixMilli(int64(value * 1000)) }

// replicas are the samples of each exporter.
func (m metrics) replicas() map[string]metrics {
	all := map[string]metrics{}
	for _, s := range m.samples {
		all[s.replica] = metrics{samples: append(all[s.replica].samples, s)}
	}
	return all
}

// fetchPlain asks the exporter, which speaks http inside the cluster and through a forwarded port.
func fetchPlain(ctx context.Context, url string) view {
	return fetch(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, url)
}

func fetch(ctx context.Context, client *http.Client, url string) view {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return view{err: err}
	}
	response, err := client.Do(request)
	if err != nil {
		return view{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxMetrics))
	return view{status: response.StatusCode, body: body, err: err}
}
