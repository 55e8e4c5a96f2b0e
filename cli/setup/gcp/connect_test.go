package gcp

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// busy answers with a code as often as it is asked, and then with 200.
type busy struct {
	code, times int
	header      string
	asked       int
	bodies      []string
}

func (b *busy) RoundTrip(r *http.Request) (*http.Response, error) {
	b.asked++
	if r.Body != nil {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		b.bodies = append(b.bodies, string(text))
	}
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}")), Request: r}
	if b.asked <= b.times {
		answer.StatusCode = b.code
		answer.Header.Set("Retry-After", b.header)
	}
	return answer, nil
}

func TestPatience(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		busy  busy
		code  int
		asked int
		takes time.Duration
	}{
		"at once":                    {busy{}, 200, 1, 0},
		"as long as it says":         {busy{code: 429, times: 2, header: "7"}, 200, 3, 14 * time.Second},
		"longer and longer":          {busy{code: 503, times: 3}, 200, 4, 1750 * time.Millisecond},
		"not for ever":               {busy{code: 429, times: 100, header: "1"}, 429, attempts, 4 * time.Second},
		"not an hour":                {busy{code: 429, times: 1, header: "3600"}, 429, 1, 0},
		"a date is not understood":   {busy{code: 429, times: 1, header: "Fri, 21 Nov 2026 08:00:00 GMT"}, 200, 2, 250 * time.Millisecond},
		"other refusals are at once": {busy{code: 500, times: 1}, 500, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://iam.example.com", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				answer, err := patient{&test.busy}.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				defer answer.Body.Close()
				if answer.StatusCode != test.code || test.busy.asked != test.asked || time.Since(began) != test.takes {
					t.Errorf("%d after %d requests and %s", answer.StatusCode, test.busy.asked, time.Since(began))
				}
				if len(test.busy.bodies) != test.asked || strings.Join(test.busy.bodies, "") != strings.Repeat("body", test.asked) {
					t.Errorf("sent %q", test.busy.bodies)
				}
			})
		})
	}
}

// Whoever goes away is not kept waiting.
func TestPatienceEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://iam.example.com", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := patient{&busy{code: 429, times: 9, header: "20"}}.RoundTrip(request)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
			_ = answer.Body.Close()
		}
	})
}
