package gcp

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"
)

const (
	attempts     = 5
	longestPause = 30 * time.Second
)

// connect is the API's client. Google's own does not wait when it is told to come again later.
func connect(ctx context.Context, options []option.ClientOption) (*iam.Service, error) {
	options = append([]option.ClientOption{option.WithScopes(iam.CloudPlatformScope)}, options...)
	client, _, err := transport.NewClient(ctx, options...)
	if err != nil {
		return nil, err
	}
	client.Transport = patient{client.Transport}
	return iam.NewService(ctx, append(options, option.WithHTTPClient(client))...)
}

// patient asks again what was refused because there was too much to do. Such an answer says that nothing was done.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		response, err := p.next.RoundTrip(request)
		if err != nil || attempt == attempts || response.StatusCode != http.StatusTooManyRequests && response.StatusCode != http.StatusServiceUnavailable {
			return response, err
		}
		if request.Body != nil && request.Body != http.NoBody && request.GetBody == nil { // it can't be sent twice
			return response, nil
		}
		pause := retryAfter(response.Header, attempt)
		if pause > longestPause {
			return response, nil
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
		_ = response.Body.Close()
		timer := time.NewTimer(pause)
		select {
		case <-request.Context().Done():
			timer.Stop()
			return nil, request.Context().Err()
		case <-timer.C:
		}
		if request, err = again(request); err != nil {
			return nil, err
		}
	}
}

func again(request *http.Request) (*http.Request, error) {
	next := request.Clone(request.Context())
	if request.GetBody == nil {
		return next, nil
	}
	body, err := request.GetBody()
	next.Body = body
	return next, err
}

// retryAfter is what the answer says in seconds, or else 250 ms, twice as long each time.
func retryAfter(header http.Header, attempt int) time.Duration {
	if seconds, err := strconv.ParseUint(header.Get("Retry-After"), 10, 16); err == nil {
		return time.Duration(seconds) * time.Second
	}
	return 250 * time.Millisecond << (attempt - 1)
}
