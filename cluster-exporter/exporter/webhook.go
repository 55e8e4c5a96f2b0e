package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

const (
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
	client, err := newClient(settings, settings.CABundle, w.CABundle)
	return &webhook{url: w.URL, client: client}, err
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
	body, err := io.ReadAll(response.Body)
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
