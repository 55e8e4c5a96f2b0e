package exporter

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	sendTimeout = 30 * time.Second // publishers answer within 25 s
	maxAnswer   = 64 << 10

	codeSuperseded = "superseded"
	codeFork       = "fork"
)

// answer is what a publisher says: a receipt, or a problem (RFC 9457).
type answer struct {
	HTTPStatus int
	RetryAfter time.Duration
	Queued     bool  // a queue took it, and the publisher has not answered
	Detour     error // why it did not go by the queue

	problem
}

// problem holds the members of RFC 9457 that matter, and the publisher's own.
type problem struct {
	Code     string `json:"code"`
	Detail   string `json:"detail"`
	Instance string `json:"instance"` // under which the publisher's log says more
	Seq      int64  `json:"seq"`      // with "superseded": what to go on from
}

func (a answer) outcome(err error) outcome {
	switch {
	case err != nil:
		return failed
	case a.Queued:
		return queued
	case a.HTTPStatus == http.StatusOK:
		return accepted
	case a.Code == codeSuperseded:
		return superseded
	case a.HTTPStatus >= 500 || a.HTTPStatus == http.StatusTooManyRequests || a.HTTPStatus == http.StatusRequestTimeout:
		return failed
	}
	return refused
}

// webhook posts envelopes to a publisher's public door.
type webhook struct {
	url    string
	client *http.Client
}

func newWebhook(settings Settings, w Webhook) (*webhook, error) {
	transport, err := newTransport(settings, settings.CABundle, w.CABundle)
	if err != nil {
		return nil, err
	}
	return &webhook{url: w.URL, client: &http.Client{
		Transport: transport, Timeout: sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// newTransport reaches destinations: by the settings' proxy or that of the environment, with the system's authorities and those of the bundles.
func newTransport(settings Settings, bundles ...string) (*http.Transport, error) {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("http.DefaultTransport was replaced")
	}
	transport := standard.Clone()
	transport.MaxResponseHeaderBytes = maxAnswer
	if settings.Proxy != "" {
		proxy, err := url.Parse(settings.Proxy)
		if err != nil {
			return nil, errors.New("proxy is not a URL")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	roots, err := authorities(bundles...)
	if err != nil {
		return nil, err
	}
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return transport, nil
}

// authorities are the system's and those of the bundles; nil is the system's alone.
func authorities(bundles ...string) (*x509.CertPool, error) {
	var roots *x509.CertPool
	for _, bundle := range bundles {
		if bundle == "" {
			continue
		}
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, fmt.Errorf("caBundle: %w", err)
		}
		if roots == nil {
			if roots, err = x509.SystemCertPool(); err != nil {
				roots = x509.NewCertPool()
			}
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("caBundle: %s holds no certificate", bundle)
		}
	}
	return roots, nil
}

func (w *webhook) send(ctx context.Context, envelope []byte) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(envelope))
	if err != nil {
		return answer{}, withoutURL(err)
	}
	request.Header.Set("Content-Type", "application/jose")
	request.Header.Set("Accept", "application/json, application/problem+json")
	response, err := w.client.Do(request)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return answer{}, withoutURL(err)
	}
	if len(body) > maxAnswer {
		return answer{}, fmt.Errorf("its answer (HTTP %d) is longer than %d bytes: is there a publisher at the URL?", response.StatusCode, maxAnswer)
	}
	return read(response, body)
}

func (w *webhook) close() { w.client.CloseIdleConnections() }

// read makes sense of an answer. Only a receipt is success: a captive portal answers 200 as well.
func read(response *http.Response, body []byte) (answer, error) {
	a := answer{HTTPStatus: response.StatusCode}
	if response.StatusCode == http.StatusOK {
		var receipt struct {
			Status string `json:"status"`
		}
		if err := json.Unmarshal(body, &receipt); err != nil || receipt.Status != "accepted" && receipt.Status != "unchanged" {
			return answer{}, errors.New("its answer is not a receipt: is there a publisher at the URL?")
		}
		return a, nil
	}
	if json.Unmarshal(body, &a.problem) != nil {
		a.problem = problem{} // a gateway's errors are in other words
	}
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}
	return a, nil
}

// withoutURL keeps a URL, which may hold what should not be repeated, out of messages.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
