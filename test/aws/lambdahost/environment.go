package lambdahost

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// environment is one process at a time, and the runtime API it speaks to. One goroutine at a time uses it.
type environment struct {
	host    *Host
	process *child
	took    time.Duration // from the start of the process to its first request
}

// child is a running or ended child with its runtime API.
type child struct {
	command *exec.Cmd
	api     *api
	server  *http.Server
	ended   chan struct{} // closed when the process is gone
}

// begin starts a process and waits until it asks for an event.
func (e *environment) begin(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p := &child{api: newAPI(), ended: make(chan struct{})}
	p.server = &http.Server{Handler: p.api.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = p.server.Serve(listener) }() // until it is closed
	started := time.Now()
	if err := p.start(e.host, listener.Addr().String()); err != nil {
		_ = p.server.Close()
		return fmt.Errorf("%w: %w", ErrInit, err)
	}
	e.process = p
	select {
	case <-p.api.asked:
		e.took = time.Since(started)
		return nil
	case failure := <-p.api.failed:
		e.end()
		return fmt.Errorf("%w: %w; its log ends:\n%s", ErrInit, failure, tail(e.host.Log()))
	case <-p.ended:
		e.end()
		return fmt.Errorf("%w: it ended (%s); its log ends:\n%s", ErrInit, p.command.ProcessState, tail(e.host.Log()))
	case <-ctx.Done():
		e.end()
		return ctx.Err()
	}
}

// start runs the process on a thread that lasts as long as the process does: Linux ends such a child with the thread that made it.
func (p *child) start(h *Host, address string) error {
	folder := filepath.Dir(h.options.Bootstrap)
	p.command = exec.Command(h.options.Bootstrap)
	p.command.Dir = folder
	p.command.Env = append([]string{
		"AWS_LAMBDA_RUNTIME_API=" + address, "LAMBDA_TASK_ROOT=" + folder, "_HANDLER=bootstrap", "TZ=:UTC",
		"AWS_LAMBDA_FUNCTION_NAME=" + functionName, "AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
		"AWS_LAMBDA_LOG_FORMAT=JSON", "AWS_LAMBDA_LOG_LEVEL=INFO", "AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
	}, h.options.Env...)
	p.command.Stdout, p.command.Stderr = &h.log, &h.log
	p.command.SysProcAttr = process.EndWithParent()
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		err := p.command.Start()
		started <- err
		if err == nil {
			_ = p.command.Wait() // how it ended is in ProcessState
			close(p.ended)
		}
	}()
	return <-started
}

// end kills the process as Lambda does: without a word.
func (e *environment) end() {
	if e.process == nil {
		return
	}
	_ = e.process.command.Process.Kill() // fails only if it has ended
	<-e.process.ended
	_ = e.process.server.Close()
	e.process = nil
}

// invoke gives the process an event, in a new process if the last one is gone.
func (e *environment) invoke(ctx context.Context, event []byte) ([]byte, error) {
	if !e.alive() {
		e.end()
		if err := e.begin(ctx); err != nil {
			return nil, err
		}
	}
	p, limit := e.process, e.host.options.Timeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	i := newInvocation(event, time.Now().Add(limit))
	for next := p.api.next; ; {
		select {
		case next <- i:
			next = nil
		case answer := <-i.answer:
			e.settle(timer.C)
			return answer.body, answer.err
		case <-p.ended:
			return nil, e.lost(&FunctionError{"Runtime.ExitError", fmt.Sprintf("the process ended (%s)", p.command.ProcessState)})
		case <-timer.C:
			return nil, e.lost(&FunctionError{"Sandbox.Timedout", fmt.Sprintf("the task timed out after %s", limit)})
		case <-e.host.stopped:
			return nil, ErrStopped
		case <-ctx.Done():
			return nil, e.lost(ctx.Err())
		}
	}
}

func (e *environment) alive() bool {
	if e.process == nil {
		return false
	}
	select {
	case <-e.process.ended:
		return false
	default:
		return true
	}
}

// settle waits until the process asks for the next event, which is how Lambda knows that it is done with this one, or ends.
func (e *environment) settle(timeout <-chan time.Time) {
	select {
	case <-e.process.api.asked:
	case <-e.process.ended:
	case <-timeout:
		e.end()
	}
}

// lost ends the process of an event that came to nothing.
func (e *environment) lost(err error) error {
	e.end()
	var failed *FunctionError
	if errors.As(err, &failed) {
		failed.Message += "; its log ends:\n" + tail(e.host.Log())
	}
	return err
}

// tail is the end of a log, for people to read.
func tail(log string) string { return log[max(0, len(log)-4000):] }
