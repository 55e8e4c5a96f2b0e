package publishers

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

const (
	dialTimeout = 5 * time.Second
	maxToken    = 16 << 10 // bytes
)

// web is a door that is opened by a bearer token.
type web struct {
	client *http.Client
	url    string
	token  func(context.Context) (string, error) // the errors are ErrLogin and ErrForbidden
	right  string                                // what who is not let in needs
}

func transport() *http.Transport {
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives: true, // one order is one connection: nothing is left open
	}
}

// bounded keeps every answer within an outcome's size, and every order from going out in the clear, whatever AWS_ENDPOINT_URL says.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" {
		return nil, fmt.Errorf("%w: %s is not https", ErrNoDoor, request.URL.Host)
	}
	response, err := b.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxOutcome)
	}
	return response, err
}

func (w web) send(ctx context.Context, order []byte) ([]byte, error) {
	token, err := w.token(ctx)
	if err != nil {
		return nil, err
	}
	if len(token) > maxToken || strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n") {
		return nil, fmt.Errorf("%w: what was got to log in with is no token (a JWT)", ErrLogin)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(order))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, application/problem+json")
	response, err := w.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, fmt.Errorf("%w: it answers with more than %d bytes", ErrNoDoor, maxOutcome)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case response.StatusCode == http.StatusOK:
		return body, nil
	}
	return nil, w.explain(response, body)
}

// notLetIn are the codes by which a door itself answers, and not the publisher behind it.
var notLetIn = []string{"token", "not-operator", "shut"}

// explain tells apart the platform's answers and a publisher's, which are problems (RFC 9457).
func (w web) explain(response *http.Response, body []byte) error {
	var p publish.Problem
	told := strings.HasPrefix(response.Header.Get("Content-Type"), "application/problem+json") && json.Unmarshal(body, &p) == nil && p.Code != ""
	status := response.StatusCode
	switch {
	case told && slices.Contains(notLetIn, p.Code), !told && (status == http.StatusUnauthorized || status == http.StatusForbidden):
		return fmt.Errorf("%w: %s%s: %s", ErrForbidden, response.Status, because(p), w.right)
	case told && p.Code == publish.CodeRetry, !told && (status == http.StatusTooManyRequests || status >= http.StatusInternalServerError):
		return fmt.Errorf("%w: %s%s", ErrUnreachable, response.Status, because(p))
	case told:
		return fmt.Errorf("%w: %s%s", ErrRefused, response.Status, because(p))
	case status >= http.StatusMultipleChoices && status < http.StatusBadRequest:
		return fmt.Errorf("%w: %s answers %s, and a token follows no redirect: write the URL where it really is", ErrNoDoor, w.url, response.Status)
	}
	return fmt.Errorf("%w: %s answers %s: the stack's output operate_url has the door's URL", ErrNoDoor, w.url, response.Status)
}

func because(p publish.Problem) string {
	switch {
	case p.Code == "":
		return ""
	case p.Detail != "":
		return fmt.Sprintf(" (%s): %.2000s", p.Code, p.Detail)
	}
	return fmt.Sprintf(" (%s); the function's log has the reason as %.80q", p.Code, p.Instance)
}
