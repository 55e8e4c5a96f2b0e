package exporter

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-1": 0, "99999999": time.Hour, "Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		response := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {header}}}
		a, err := read(response, []byte(`{"code":"retry"}`))
		if err != nil || a.RetryAfter != want || a.Code != "retry" || a.outcome(err) != failed {
			t.Errorf("%q: %+v, %v", header, a, err)
		}
	}
}

// A publisher that answers nonsense can't stop a cluster by a number that nobody would accept.
func TestGoOnFrom(t *testing.T) {
	t.Parallel()
	w := &worker{now: func() time.Time { return start }, seq: 7}
	for _, step := range []struct{ seq, want int64 }{
		{3, 7}, {9, 9}, {0, 9}, {-1, 9}, {1<<63 - 1, 9}, {start.UnixMilli() + 1, start.UnixMilli() + 1},
	} {
		if w.goOnFrom(step.seq); w.seq != step.want {
			t.Errorf("%d: went on from %d, want %d", step.seq, w.seq, step.want)
		}
	}
}

// Whatever answers, only a receipt is success, and what a person reads is short and no control character is in a metric.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(`{"status":"accepted","seq":1,"publication":1}`))
	f.Add(403, []byte(`{"code":"not-believed","instance":"I","status":403}`))
	f.Add(502, []byte("<html>"))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		a, err := read(&http.Response{StatusCode: status, Header: http.Header{}}, body)
		if a.outcome(err) == accepted && (status != http.StatusOK || !strings.Contains(string(body), "status")) {
			t.Fatalf("%d %q is success", status, body)
		}
		if code := label(a, err); len(code) > 20 || strings.ContainsAny(code, "\n\"") {
			t.Fatalf("label %q", code)
		}
	})
}
