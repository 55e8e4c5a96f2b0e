// Package functionshost runs the package of an Azure function app, a custom handler, as the Azure Functions host does, so that tests call
// what is deployed.
//
// It reads the package's host.json and function.json and routes by them; it waits for the handler, posts it the host's JSON, and takes
// nothing for an answer that the host would not: another status than 2xx, another media type than JSON and an empty body are failed
// invocations. Its doors are HTTP (front.go), storage queues with redelivery and poison queue (queue.go), and timers, which a test winds
// itself. The shapes are those of Microsoft's documentation, and of the host's own code where that says otherwise. Linux ends the handler with
// the test.
//
// It is stricter than the host in this: a member of host.json or function.json that it does not know stops it, because the host would
// ignore it silently; and it forwards no requests (enableForwardingHttpRequest).
package functionshost

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// The host's own limits.
const (
	readyTimeout  = 30 * time.Second
	bodyLimit     = 100 << 20 // bytes of a request, without FUNCTIONS_REQUEST_BODY_SIZE_LIMIT
	logName       = "handler.log"
	hostVersion   = "4.1036.1.1"
	answerLimit   = 16 << 20 // bytes; the host has none
	checkInterval = 10 * time.Millisecond
)

// ErrInvocation means that an invocation failed, as the host would say: what called it is told 500, and a message comes back.
var ErrInvocation = errors.New("the invocation failed")

// Options describe a function app.
type Options struct {
	Package  string            // its folder, as unpacked from the zip
	Settings map[string]string // app settings: the handler's environment, and what function.json refers to
	Client   *http.Client      // for the host's own calls to storage; nil for the default

	// RetryAfter is in place of visibilityTimeout in host.json, for tests that can't wait. Zero for what host.json says.
	RetryAfter time.Duration
}

// Host is a function app that runs. It is safe for concurrent use.
type Host struct {
	options   Options
	config    configuration
	functions map[string]function
	address   string // of the handler
	client    *http.Client
	handler   *process.Process
	log       string
	started   time.Duration

	end     context.CancelFunc
	polling sync.WaitGroup
	poison  counter
}

// Start starts the handler, waits until it answers, and begins to poll the queues. Call Stop.
func Start(ctx context.Context, options Options) (*Host, error) {
	h := &Host{options: options, log: filepath.Join(options.Package, logName), client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if h.options.Client == nil {
		h.options.Client = http.DefaultClient
	}
	var err error
	if h.config, h.functions, err = load(options.Package, options.Settings); err != nil {
		return nil, err
	}
	queues, err := h.openQueues()
	if err != nil {
		return nil, err
	}
	if err := h.startHandler(ctx); err != nil {
		return nil, err
	}
	polling, end := context.WithCancel(context.WithoutCancel(ctx))
	h.end = end
	for _, queue := range queues {
		h.polling.Go(func() { queue.poll(polling) })
	}
	return h, nil
}

func (h *Host) startHandler(ctx context.Context) error {
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	h.address = fmt.Sprintf("http://127.0.0.1:%d/", port)
	began := time.Now()
	h.handler, err = process.Start(process.Program{
		Name: "handler", Log: h.log, // whose folder is the working directory, as the host has it
		Binary: filepath.Join(h.options.Package, filepath.FromSlash(h.config.CustomHandler.Description.Executable)),
		Flags:  h.config.CustomHandler.Description.Arguments, Environment: h.environment(port),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	err = h.handler.WaitUntil(ctx, "ready", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.address, nil)
		if err != nil {
			return err
		}
		response, err := h.client.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close() // any answer will do
	})
	if err != nil {
		h.handler.Kill()
		return err
	}
	h.started = time.Since(began)
	return nil
}

func (h *Host) environment(port int) []string {
	environment := []string{
		fmt.Sprintf("FUNCTIONS_CUSTOMHANDLER_PORT=%d", port), fmt.Sprintf("FUNCTIONS_HTTPWORKER_PORT=%d", port),
		"FUNCTIONS_CUSTOMHANDLER_WORKER_ID=" + newID(), "FUNCTIONS_APP_ROOT_PATH=" + h.options.Package,
	}
	for name, value := range h.options.Settings {
		environment = append(environment, name+"="+value)
	}
	return environment
}

// Stop ends the handler. It may be called again.
func (h *Host) Stop() {
	h.end()
	h.polling.Wait()
	h.handler.Kill() // as the host does
}

// Tick is what a timer's schedule does: it invokes a function with a timerTrigger, and returns when that answered.
func (h *Host) Tick(ctx context.Context, name string) error {
	called, ok := h.functions[name]
	if !ok || called.trigger.Type != "timerTrigger" {
		return fmt.Errorf("%s is no function with a timerTrigger", name)
	}
	_, err := h.invoke(ctx, called, map[string]any{called.trigger.Name: timerInfo(time.Now())}, nil)
	return err
}

// Poisoned is how many messages went to a poison queue.
func (h *Host) Poisoned() int { return h.poison.value() }

// Log is everything the handler wrote so far.
func (h *Host) Log() string {
	content, err := os.ReadFile(h.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// Started says how long the handler took from its start to its first answer.
func (h *Host) Started() time.Duration { return h.started }

// counter counts from several goroutines.
type counter struct {
	mu    sync.Mutex
	count int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}
