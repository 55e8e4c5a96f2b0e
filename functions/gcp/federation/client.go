package federation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
)

const (
	// maxAnswer holds a provider with the largest set there is, escaped as a string, several times.
	maxAnswer = 512 << 10

	requestTimeout = 6 * time.Second // so that a second try fits into Limit
)

var errTooLarge = fmt.Errorf("the answer has more than %d bytes", maxAnswer)

// newService is the library's client, with bounds that it does not have. Redirects are not followed: they would take the login along.
func newService(ctx context.Context, options []option.ClientOption) (*iam.Service, error) {
	scoped := append([]option.ClientOption{option.WithScopes(iam.CloudPlatformScope)}, options...)
	found, endpoint, err := transport.NewClient(ctx, scoped...)
	if err != nil {
		return nil, fmt.Errorf("no login for Google: %w: run as a service account", err)
	}
	client := *found
	client.Timeout = requestTimeout
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Transport = bounded{found.Transport}
	ours := []option.ClientOption{option.WithHTTPClient(&client)}
	if endpoint != "" {
		ours = append(ours, option.WithEndpoint(endpoint))
	}
	return iam.NewService(ctx, ours...)
}

// bounded reads no more of an answer than any of Google's has.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	next := b.next
	if next == nil {
		next = http.DefaultTransport
	}
	response, err := next.RoundTrip(r)
	if err == nil {
		response.Body = &boundedBody{response.Body, maxAnswer}
	}
	return response, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read is the body's until more than the bound came: a part of an answer must not pass for the whole.
func (b *boundedBody) Read(into []byte) (int, error) {
	n, err := b.ReadCloser.Read(into[:min(len(into), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, errors.Join(errTooLarge, b.Close())
	}
	return n, err
}
