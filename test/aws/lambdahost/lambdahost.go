// Package lambdahost runs the binary of a Lambda function as a process behind Lambda's runtime API, so that tests invoke what is
// deployed.
//
// It does what Lambda does: one event at a time for each process, a new process where one ended or took too long, errors of the
// function told apart from answers. What Lambda's front doors make of HTTP requests and messages is in events.go. Linux ends the processes
// with the test.
package lambdahost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"
)

// maxPayload is Lambda's limit of an event and of an answer in bytes.
const maxPayload = 6 << 20

var (
	// ErrInit means that the process ended, or gave up, before it asked for an event.
	ErrInit = errors.New("the function did not start")

	// ErrStopped means that the host was stopped.
	ErrStopped = errors.New("the host is stopped")
)

// Options describe a function.
type Options struct {
	Bootstrap string        // the binary; the files beside it are the package
	Env       []string      // NAME=value; nothing is inherited
	Timeout   time.Duration // of one event; 30 s if zero
	Processes int           // how many events at once; 1 if zero
}

// FunctionError is an error that the function answered, or that Lambda found in its place.
type FunctionError struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

func (e *FunctionError) Error() string { return e.Type + ": " + e.Message }

// Host is a function that can be invoked, by any number of goroutines.
type Host struct {
	options Options
	log     journal
	idle    chan *environment
	started time.Duration
	stopped chan struct{}
	stop    sync.Once
}

// Start starts the function's processes and returns when each asks for its first event. The error is ErrInit with the end of the log. Call
// Stop.
func Start(ctx context.Context, options Options) (*Host, error) {
	if options.Timeout == 0 {
		options.Timeout = 30 * time.Second
	}
	bootstrap, err := filepath.Abs(options.Bootstrap)
	if err != nil {
		return nil, err
	}
	options.Bootstrap, options.Processes = bootstrap, max(1, options.Processes)
	h := &Host{options: options, idle: make(chan *environment, options.Processes), stopped: make(chan struct{})}
	var failed error
	for range options.Processes {
		e := &environment{host: h}
		failed = errors.Join(failed, e.begin(ctx))
		h.started = max(h.started, e.took)
		h.idle <- e
	}
	if failed != nil {
		h.Stop()
		return nil, failed
	}
	return h, nil
}

// Stop ends the processes, and with them what they are at. It may be called again.
func (h *Host) Stop() {
	h.stop.Do(func() {
		close(h.stopped)
		for range h.options.Processes {
			e := <-h.idle
			e.end()
		}
	})
}

// Invoke gives the function an event and returns its answer. The error is a *FunctionError, ErrInit, ErrStopped or the context's, which
// ends the process: Lambda has no way to take an event back.
func (h *Host) Invoke(ctx context.Context, event []byte) ([]byte, error) {
	if len(event) > maxPayload {
		return nil, fmt.Errorf("an event of %d bytes: Lambda takes %d", len(event), maxPayload)
	}
	select {
	case <-h.stopped: // and then no environment is given out
		return nil, ErrStopped
	default:
	}
	select {
	case e := <-h.idle:
		defer func() { h.idle <- e }()
		return e.invoke(ctx, event)
	case <-h.stopped:
		return nil, ErrStopped
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Log is everything the processes wrote so far.
func (h *Host) Log() string { return h.log.String() }

// Started says how long the slowest of the first processes took from its start to its first request for an event.
func (h *Host) Started() time.Duration { return h.started }

// journal is a buffer that processes write to while a test reads.
type journal struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (j *journal) Write(data []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buffer.Write(data)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buffer.String()
}
