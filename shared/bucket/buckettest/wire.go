package buckettest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// An Answer is what a cloud, or something on the way to it, says to one request.
type Answer func(http.ResponseWriter, *http.Request)

// Page is an answer with a status and a body, and nothing that tells who gave it.
func Page(status int, body string) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// Content answers with more or less than it announces. The ETag is the object's, where the cloud has one.
func Content(etag string, size, announced int) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", etag)
		w.Header().Set("Content-Length", strconv.Itoa(announced))
		_, _ = w.Write(make([]byte, size))
	}
}

// Endless answers until nobody listens any more.
func Endless(etag string) Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", etag)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	}
}

// Cut ends the connection without a word: the request may have been carried out.
func Cut(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// A Verdict is the decision that an answer must lead to (nil for an error of no kind), and what the error must say, in one line.
type Verdict struct {
	Answer Answer
	Want   error
	Says   string
}

// Leads is a Verdict in a line.
func Leads(answer Answer, to error, says string) Verdict {
	return Verdict{Answer: answer, Want: to, Says: says}
}

// Check holds what a driver returned to the verdict.
func (v Verdict) Check(t testing.TB, version bucket.Version, err error) {
	t.Helper()
	if err == nil || version != bucket.Absent || !strings.Contains(err.Error(), v.Says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("%q, %v; want an error that says %q in one line", version, err, v.Says)
	}
	for _, sentinel := range []error{bucket.ErrNotFound, bucket.ErrConflict, bucket.ErrName, bucket.ErrObject} {
		if errors.Is(err, sentinel) != errors.Is(v.Want, sentinel) {
			t.Errorf("%v; is it %q: %t", err, sentinel.Error(), errors.Is(err, sentinel))
		}
	}
}

// A Wire is a cloud as a driver hears it: what cannot be had of a real server, such as an answer that is lost, is said by it.
type Wire struct {
	Serve   func(testing.TB, http.HandlerFunc) bucket.Bucket // a driver whose requests are answered so
	Version bucket.Version                                   // of what Found answers with
	Found   Answer                                           // to every request of a Get: an object whose body is {}
	Missing Answer                                           // to every request of a Get: there is none
	Stale   Answer                                           // to a write: the object is another version
	Busy    Answer                                           // to anything: later
}

// Judged asks for an object of every answer, and hands what came of it to the answer's verdict.
func (w Wire) Judged(t *testing.T, verdicts map[string]Verdict, ask func(context.Context, bucket.Bucket) (bucket.Version, error)) {
	t.Helper()
	for name, v := range verdicts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			version, err := ask(t.Context(), w.Serve(t, http.HandlerFunc(v.Answer)))
			v.Check(t, version, err)
		})
	}
}

// Get reads an object whose name has folders, for Judged.
func Get(ctx context.Context, b bucket.Bucket) (bucket.Version, error) {
	got, version, err := b.Get(ctx, "prod/openid/jwks")
	if err != nil && (got.Body != nil || got.ContentType != "" || got.CacheControl != "") {
		return version, errors.New("an object comes with the error")
	}
	return version, err
}

// Put writes an object over the version seen, for Judged.
func Put(seen bucket.Version) func(context.Context, bucket.Bucket) (bucket.Version, error) {
	return func(ctx context.Context, b bucket.Bucket) (bucket.Version, error) {
		return b.Put(ctx, "prod/openid/jwks", text("{}"), seen)
	}
}

// Run holds a driver to what its contract says of answers that are lost, late or never there.
func (w Wire) Run(t *testing.T) {
	t.Run("a write whose answer is lost", func(t *testing.T) {
		t.Parallel()
		for _, lost := range []Answer{Cut, w.Busy} {
			for _, seen := range []bucket.Version{bucket.Absent, w.Version} {
				w.lostAnswer(t, lost, seen)
			}
		}
	})
	t.Run("a read that fails for a moment", w.repeatedRead)
	t.Run("silence", w.silence)
}

// lostAnswer: what was stored is not reported as somebody else's, which a careless client that repeats itself would do.
func (w Wire) lostAnswer(t *testing.T, lost Answer, seen bucket.Version) {
	t.Helper()
	var writes atomic.Int32
	b := w.Serve(t, func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet && writes.Add(1) > 1:
			w.Stale(rw, r)
		case r.Method != http.MethodGet:
			lost(rw, r)
		case writes.Load() == 0:
			w.Missing(rw, r) // a connection is open now, on which a request may be repeated
		default:
			w.Found(rw, r)
		}
	})
	if _, _, err := b.Get(t.Context(), "name"); !errors.Is(err, bucket.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "name", text("{}"), seen); err == nil || errors.Is(err, bucket.ErrConflict) || writes.Load() != 1 {
		t.Errorf("seen %q: %v after %d writes, want an unclear answer after one", seen, err, writes.Load())
	}
	if got, version, err := b.Get(t.Context(), "name"); err != nil || string(got.Body) != "{}" || version != w.Version {
		t.Errorf("seen %q: Get = %q, %q, %v", seen, got.Body, version, err)
	}
}

// repeatedRead: that is nothing to report.
func (w Wire) repeatedRead(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	b := w.Serve(t, func(rw http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.Busy(rw, r)
			return
		}
		w.Found(rw, r)
	})
	if got, version, err := b.Get(t.Context(), "name"); err != nil || string(got.Body) != "{}" || version != w.Version {
		t.Errorf("Get = %q, %q, %v", got.Body, version, err)
	}
}

// silence: who never gets an answer can give up.
func (w Wire) silence(t *testing.T) {
	t.Parallel()
	b := w.Serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := b.Get(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: %v", err)
	}
	if _, err := b.Put(ctx, "name", text("{}"), bucket.Absent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
}
