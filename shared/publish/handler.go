package publish

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// acceptTimeout is how long one snapshot may take, storage included.
const acceptTimeout = 25 * time.Second

// Handler is the public door: POST /v1/snapshots takes an envelope, GET /healthz answers while the process lives. Errors are problems
// (RFC 9457) with a stable "code".
type Handler struct {
	publisher *Publisher
	mux       *http.ServeMux
}

// NewHandler makes the public door of a publisher.
func NewHandler(p *Publisher) *Handler {
	h := &Handler{publisher: p, mux: http.NewServeMux()}
	h.mux.HandleFunc("POST /v1/snapshots", h.snapshots)
	h.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h *Handler) snapshots(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	ctx, cancel := context.WithTimeout(WithInstance(r.Context(), id), acceptTimeout)
	defer cancel()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, snapshot.MaxBytes+1)) // the one more is for Accept to refuse
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		body = make([]byte, snapshot.MaxBytes+1)
	case err != nil:
		body = nil // half a snapshot is none
	}
	receipt, err := h.publisher.Accept(ctx, body)
	if err != nil {
		writeProblem(w, id, err)
		return
	}
	write(w, http.StatusOK, "application/json", receipt)
}

// Problem is the body of an error (RFC 9457).
type Problem struct {
	Type     string `json:"type"`
	Title    string `json:"title"`
	Status   int    `json:"status"`
	Code     string `json:"code"`
	Detail   string `json:"detail,omitzero"`
	Instance string `json:"instance"` // under which the publisher's log has the reason
	Seq      int64  `json:"seq,omitzero"`
}

// NewProblem says of an error of Accept what its sender may know.
func NewProblem(err error, instance string) Problem {
	code, status := reason(err)
	problem := Problem{Type: "about:blank", Code: code, Status: status, Instance: instance}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		problem.Code, problem.Seq = refusal.Code, refusal.Seq
		if refusal.Known {
			problem.Detail = refusal.Error()
		} else {
			problem.Status = publicStatus(refusal.Code)
		}
	}
	problem.Title = http.StatusText(problem.Status)
	return problem
}

func publicStatus(code string) int {
	switch code {
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeMalformed:
		return http.StatusBadRequest
	}
	return http.StatusForbidden
}

func writeProblem(w http.ResponseWriter, instance string, err error) {
	problem := NewProblem(err, instance)
	if problem.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	write(w, problem.Status, "application/problem+json", problem)
}

func write(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, body) // the sender may be gone
}

type instanceKey struct{}

// WithInstance names the occurrence under which a refusal is logged, for doors that are not HTTP.
func WithInstance(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, instanceKey{}, id)
}

func instance(ctx context.Context) string {
	id, _ := ctx.Value(instanceKey{}).(string)
	return id
}
