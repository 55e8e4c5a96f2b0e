package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

const (
	// maxInvocation is in bytes. A message of 64 KiB, of nothing but control characters, takes seven times that in the host's JSON, and comes
	// twice if it is an object.
	maxInvocation = 2 << 20

	webTimeout       = 30 * time.Second
	queueTimeout     = 30 * time.Second
	reconcileTimeout = 100 * time.Second // within host.json's functionTimeout, after which the host ends the process
	operateTimeout   = 100 * time.Second
)

var (
	errInvocation = errors.New("not an invocation of this function")
	errPort       = errors.New("FUNCTIONS_CUSTOMHANDLER_PORT is no port: the Functions host sets it, and starts this program")
)

// app is what lives from one invocation to the next. It is safe for concurrent use.
type app struct {
	publisher *publish.Publisher
	door      http.Handler
	operators *operators // nil: the door is shut
	unusable  error      // why there is no publisher
	logger    *slog.Logger
}

// entry is one of the functions in the folder app.
type entry struct {
	timeout time.Duration
	answer  func(*app, context.Context, invocation) (outputs, error)
}

var entries = map[string]entry{
	"snapshots": {webTimeout, (*app).snapshots},
	"healthz":   {webTimeout, (*app).healthz},
	"operate":   {operateTimeout, (*app).operate},
	"queue":     {queueTimeout, (*app).consume},
	"reconcile": {reconcileTimeout, (*app).reconcile},
}

// invocation is what the host sends: values by the names of the bindings in function.json. Metadata mixes what the host knows with members of
// the message itself, so nothing is decided by it.
type invocation struct {
	Data     map[string]jsontext.Value `json:"Data"`
	Metadata map[string]jsontext.Value `json:"Metadata"`

	tooLarge bool // it was not read
}

// outputs are values by the names of the output bindings.
type outputs map[string]any

// reply is what the host wants of every invocation.
type reply struct {
	Outputs     outputs  `json:"Outputs"`
	Logs        []string `json:"Logs"`
	ReturnValue any      `json:"ReturnValue"`
}

// ServeHTTP implements http.Handler.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := withInvocation(r.Context(), r.Header.Get("X-Azure-Functions-InvocationId"))
	called, known := entries[strings.TrimPrefix(r.URL.Path, "/")]
	switch {
	case r.Method == http.MethodGet && r.URL.Path == "/": // the host asks until there is an answer
		answer(w, http.StatusOK, map[string]string{"status": "ready"})
		return
	case !known || r.Method != http.MethodPost:
		a.logger.ErrorContext(ctx, "a call was refused", "event", "event.refused", "detail", fmt.Sprintf("%.10q %.80q is no function of this app", r.Method, r.URL.Path))
		answer(w, http.StatusNotFound, map[string]string{"error": "no function of this app"})
		return
	}
	ctx, cancel := context.WithTimeout(ctx, called.timeout)
	defer cancel()
	var out outputs
	err := function.Guarded(func() (err error) {
		received, err := read(r.Body)
		switch {
		case err != nil:
			return err
		case a.unusable != nil:
			return a.unusable
		}
		out, err = called.answer(a, ctx, received)
		return err
	})
	if err != nil {
		a.logger.ErrorContext(ctx, "an invocation failed", "event", "invocation.failed", "function", r.URL.Path[1:], "detail", err.Error())
		answer(w, http.StatusInternalServerError, map[string]string{"error": "the function's log has the reason"})
		return
	}
	answer(w, http.StatusOK, reply{Outputs: out, Logs: []string{}})
}

// read takes what the host sends. It reads to the end also what is too large, since the host listens only after it has sent everything.
func read(body io.Reader) (invocation, error) {
	payload, err := io.ReadAll(io.LimitReader(body, maxInvocation+1))
	if err != nil {
		return invocation{}, fmt.Errorf("%w: %w", errInvocation, err)
	}
	if len(payload) > maxInvocation {
		_, err := io.Copy(io.Discard, body)
		return invocation{tooLarge: true}, err
	}
	return parse(payload)
}

func parse(payload []byte) (invocation, error) {
	var received invocation
	if err := json.Unmarshal(payload, &received, jsontext.AllowInvalidUTF8(true)); err != nil {
		return received, fmt.Errorf("%w: %w", errInvocation, err)
	}
	return received, nil
}

// value is what came by a binding.
func (i invocation) value(binding string) (jsontext.Value, error) {
	value, ok := i.Data[binding]
	if !ok {
		return nil, fmt.Errorf("%w: it has no %q: does function.json name its binding so?", errInvocation, binding)
	}
	return value, nil
}

// text is the string in a value. The host encodes a string as JSON twice; its documentation shows it encoded once. Anything that is no string
// is its own JSON.
func text(value jsontext.Value) string {
	for range 2 {
		var inner string
		if json.Unmarshal(value, &inner, jsontext.AllowInvalidUTF8(true)) != nil {
			break
		}
		value = jsontext.Value(inner)
	}
	return string(value)
}

func (a *app) reconcile(ctx context.Context, received invocation) (outputs, error) {
	if _, err := received.value("timer"); err != nil {
		return nil, err
	}
	return outputs{}, a.publisher.Reconcile(ctx)
}

// answer is JSON and says so: the host takes nothing else, and Go would call it text.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, body) // the host may be gone
}
