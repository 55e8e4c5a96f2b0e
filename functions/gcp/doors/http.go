package doors

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

const (
	readTimeout  = 15 * time.Second // for a body to arrive
	writeTimeout = 90 * time.Second // for everything: more than any door's limit
)

// readBody reads at most limit bytes and one more, in its time. The request can be read again.
func readBody(w http.ResponseWriter, r *http.Request, limit int, patience time.Duration) ([]byte, error) {
	connection := http.NewResponseController(w)
	now := time.Now()
	if err := errors.Join(connection.SetReadDeadline(now.Add(patience)), connection.SetWriteDeadline(now.Add(writeTimeout))); err != nil {
		return nil, fmt.Errorf("bound the time of a request: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	// From now on the server reads, to see whether the caller goes away. A deadline would look to it as if he had.
	if err := connection.SetReadDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("unbound the time of a request: %w", err)
	}
	if len(body) > limit {
		w.Header().Set("Connection", "close") // nobody reads the rest
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// requests counts what is being answered.
type requests struct {
	mu      sync.Mutex
	active  int
	closing chan struct{} // not nil once there are to be no more; closed when the last one is answered
}

func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing != nil {
		return false
	}
	q.active++
	return true
}

func (q *requests) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.active--; q.active == 0 && q.closing != nil {
		close(q.closing)
	}
}

// drain lets nothing in, and waits. It is called once.
func (q *requests) drain(ctx context.Context) error {
	q.mu.Lock()
	q.closing = make(chan struct{})
	empty := q.closing
	if q.active == 0 {
		close(q.closing)
	}
	q.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// instanceKey names an occurrence, under which the log has its reason.
type instanceKey struct{}

func instanceOf(r *http.Request) string {
	id, _ := r.Context().Value(instanceKey{}).(string)
	return id
}

func problem(status int, code, instance string) publish.Problem {
	return publish.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Instance: instance}
}

func answer(w http.ResponseWriter, p publish.Problem) {
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic("doors: a problem that can't be written: " + err.Error())
	}
	write(w, p.Status, "application/problem+json", body)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}

// onlyPost answers every other method.
func onlyPost(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodPost {
		return true
	}
	w.Header().Set("Allow", http.MethodPost)
	answer(w, problem(http.StatusMethodNotAllowed, publish.CodeMalformed, instanceOf(r)))
	return false
}

// stack is where a panic was, in the form that Error Reporting knows.
func stack(p any) string {
	const most = 8 << 10
	trace := fmt.Sprintf("panic: %.200v\n\n%s", p, debug.Stack())
	return trace[:min(len(trace), most)]
}
