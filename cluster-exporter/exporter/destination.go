package exporter

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	sendTimeout    = 30 * time.Second
	maxAnswer      = 64 << 10
	firstBackoff   = time.Second
	maxBackoff     = time.Minute      // while a publisher does not answer
	refusedBackoff = 10 * time.Minute // while it refuses: a person has to act
)

// worker keeps one publisher up to date. Its backlog is one reading: only the newest matters.
type worker struct {
	e           *Exporter
	destination Destination
	client      *http.Client
	newest      chan *Reading

	accepted  *Reading // what the publisher knows
	at        time.Time
	refused   *Reading // what it refused
	notBefore time.Time
	backoff   time.Duration
}

func newWorker(e *Exporter, destination Destination, transport http.RoundTripper) *worker {
	return &worker{
		e: e, destination: destination, newest: make(chan *Reading, 1),
		client: &http.Client{
			Transport: transport, Timeout: sendTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// offer replaces a reading that still waits.
func (w *worker) offer(reading *Reading) {
	select {
	case <-w.newest:
	default:
	}
	w.newest <- reading
}

func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case reading := <-w.newest:
			if w.due(reading) {
				w.send(ctx, reading)
			}
		}
	}
}

// due reports whether the publisher should hear of a reading now: at once if it is news, else at the heartbeat; and not while the
// publisher needs a pause, unless it refused something else.
func (w *worker) due(reading *Reading) bool {
	now := w.e.options.Now()
	if now.Before(w.notBefore) && (w.refused == nil || reading.sameAs(w.refused)) {
		return false
	}
	return !reading.sameAs(w.accepted) || now.Sub(w.at) >= w.e.settings.HeartbeatInterval
}

func (w *worker) send(ctx context.Context, reading *Reading) {
	answer, err := w.deliver(ctx, reading)
	if ctx.Err() != nil {
		return
	}
	now := w.e.options.Now()
	w.e.report.delivery(w.destination.Publisher, answer, err, reading)
	switch {
	case err == nil && answer.accepted():
		w.accepted, w.at, w.refused, w.notBefore, w.backoff = reading, now, nil, time.Time{}, 0
	case err == nil && answer.Code == "superseded": // another replica, or a clock: the next reading goes on from there
		w.e.goOnFrom(answer.Seq)
	case err == nil && answer.Status < http.StatusInternalServerError && answer.Status != http.StatusTooManyRequests:
		w.refused = reading
		w.pause(now, time.Minute, refusedBackoff)
	default:
		w.refused = nil
		w.pause(now, firstBackoff, maxBackoff)
	}
}

// pause doubles with every failure in a row, give or take a quarter.
func (w *worker) pause(now time.Time, first, most time.Duration) {
	w.backoff = min(max(2*w.backoff, first), most)
	w.notBefore = now.Add(w.backoff*3/4 + rand.N(w.backoff/2))
}

// answer is what a publisher says: a receipt, or a problem (RFC 9457).
type answer struct {
	Status   int    `json:"-"`
	Code     string `json:"code"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"`
	Seq      int64  `json:"seq"`
}

func (a answer) accepted() bool { return a.Status == http.StatusOK }

var errNoAnswer = errors.New("no answer")

func (w *worker) deliver(ctx context.Context, reading *Reading) (answer, error) {
	envelope, _, err := w.e.sign(ctx, reading, w.destination.Publisher)
	if err != nil {
		return answer{}, fmt.Errorf("sign a snapshot: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.destination.Webhook.URL, bytes.NewReader(envelope))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/jose")
	response, err := w.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	defer response.Body.Close()
	a := answer{}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errNoAnswer, err)
	}
	if err := json.Unmarshal(body, &a); err != nil && response.StatusCode == http.StatusOK {
		return answer{}, fmt.Errorf("%w: %s is not a publisher: its answer is not a receipt", errNoAnswer, w.destination.Publisher)
	}
	a.Status = response.StatusCode
	return a, nil
}

func (s Settings) proxyURL() *url.URL {
	if s.Proxy == "" {
		return nil
	}
	u, err := url.Parse(s.Proxy)
	if err != nil {
		return nil // ParseSettings has refused it
	}
	return u
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}
