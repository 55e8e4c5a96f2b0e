package doors

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// service is what lives from one request to the next. It is safe for concurrent use.
type service struct {
	publisher *publish.Publisher
	public    http.Handler
	unusable  error // why there is no publisher
	logger    *slog.Logger
	patience  time.Duration // for a body to arrive
	requests  requests
}

// newService reads the settings. It asks no bucket: those are first used by the first request.
func newService(ctx context.Context, getenv func(string) string, log io.Writer) *service {
	s := &service{logger: newLogger(log, projectOf(ctx, getenv)), patience: readTimeout}
	slog.SetDefault(s.logger) // what the framework and the libraries print by themselves is JSON, too
	if s.publisher, s.unusable = open(ctx, getenv, s.logger); s.unusable != nil {
		s.logger.Error("the function can't work", "event", "settings.invalid", "detail", s.unusable.Error())
		return s
	}
	s.public = publish.NewHandler(s.publisher)
	return s
}

// serve does for every door what the framework's server does not: bounds of size and time, and a panic that is a line of the log.
func (s *service) serve(w http.ResponseWriter, r *http.Request, d door) {
	ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), instanceKey{}, rand.Text()), d.limit)
	defer cancel()
	if t, ok := traceOf(r.Header); ok {
		ctx = context.WithValue(ctx, traceKey{}, t)
	}
	r = r.WithContext(ctx)
	defer s.recover(w, r)
	if !s.requests.enter() {
		w.Header().Set("Connection", "close")
		answer(w, problem(http.StatusServiceUnavailable, publish.CodeRetry, instanceOf(r)))
		return
	}
	defer s.requests.leave()
	body, err := readBody(w, r, d.body, s.patience)
	switch {
	case err != nil: // half of it is nothing
		answer(w, problem(http.StatusBadRequest, publish.CodeMalformed, instanceOf(r)))
	case s.unusable != nil:
		s.unanswered(w, r)
	default:
		d.answer(s, w, r, body)
	}
}

// unanswered says that a person has to act, and to whom it may concern, why.
func (s *service) unanswered(w http.ResponseWriter, r *http.Request) {
	s.logger.ErrorContext(r.Context(), "a request can't be answered", "event", "request.unanswered", "instance", instanceOf(r), "detail", s.unusable.Error())
	answer(w, problem(http.StatusServiceUnavailable, publish.CodeUnready, instanceOf(r)))
}

// recover answers for a bug of this program. Error Reporting groups such lines by their stack_trace.
func (s *service) recover(w http.ResponseWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	s.logger.ErrorContext(r.Context(), "a bug of this program", "event", "function.panicked", "instance", instanceOf(r),
		"detail", fmt.Sprintf("panic: %.200v", p), "stack_trace", stack(p))
	answer(w, problem(http.StatusInternalServerError, "bug", instanceOf(r)))
}

// fail tells a caller whom the platform knows everything, and the log that he was told.
func (s *service) fail(w http.ResponseWriter, r *http.Request, p publish.Problem, err error) {
	p.Detail = err.Error()
	s.logger.WarnContext(r.Context(), "a request failed", "event", "request.failed", "code", p.Code, "instance", p.Instance, "detail", p.Detail)
	answer(w, p)
}
