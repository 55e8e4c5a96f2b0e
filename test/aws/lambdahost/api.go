package lambdahost

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const functionName = "publisher"

// invocation is an event on its way through a process.
type invocation struct {
	id       string
	event    []byte
	deadline time.Time
	answer   chan answer
}

type answer struct {
	body []byte
	err  error
}

func newInvocation(event []byte, deadline time.Time) *invocation {
	return &invocation{id: rand.Text(), event: event, deadline: deadline, answer: make(chan answer, 1)}
}

// api is Lambda's runtime API (2018-06-01) for one process.
type api struct {
	next   chan *invocation
	asked  chan struct{} // has one when the process asks for an event
	failed chan error    // the process told that it can't start

	mu      sync.Mutex
	current *invocation // given out and not answered
}

func newAPI() *api {
	return &api{next: make(chan *invocation), asked: make(chan struct{}, 1), failed: make(chan error, 1)}
}

func (a *api) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.giveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		a.take(w, r, func(body []byte) answer { return answer{body: body} })
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		a.take(w, r, func(body []byte) answer { return answer{err: errorOf(body)} })
	})
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, maxPayload)) // what of it came
		select {
		case a.failed <- errorOf(body):
		default: // said once before
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

func (a *api) giveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case a.asked <- struct{}{}:
	default: // it asked and did not wait for the answer
	}
	select {
	case i := <-a.next:
		a.mu.Lock()
		a.current = i
		a.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", i.id)
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(i.deadline.UnixMilli()))
		w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:eu-central-1:111122223333:function:"+functionName)
		_, _ = w.Write(i.event) // if the process is gone, its end is noticed
	case <-r.Context().Done():
	}
}

// take hands what the process says to whoever waits for it. Lambda refuses what nobody waits for.
func (a *api) take(w http.ResponseWriter, r *http.Request, read func([]byte) answer) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	a.mu.Lock()
	i := a.current
	if i == nil || i.id != r.PathValue("id") {
		a.mu.Unlock()
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.current = nil
	a.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
	i.answer <- read(body)
}

func errorOf(body []byte) error {
	var e FunctionError
	if err := json.Unmarshal(body, &e); err != nil || e.Type == "" {
		e = FunctionError{"Runtime.UnknownError", string(body)}
	}
	return &e
}
