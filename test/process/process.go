// Package process runs programs that tests need beside them, and ends them with the test process, however that ends (on
// Linux).
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stopTimeout  = 15 * time.Second
	pollInterval = 20 * time.Millisecond
)

// A Program is what to start.
type Program struct {
	Name        string // for people to read
	Binary      string // its path
	Flags       []string
	Environment []string // all of it: proxies and the like of the test process are none of its business
	Log         string   // the file it writes to, which an earlier run may have begun; it runs in that file's folder
}

// A Process is a running or ended child. A nil process is one that was never started: there is nothing to stop.
type Process struct {
	name    string
	log     string
	command *exec.Cmd
	exited  chan struct{} // closed when the process is gone and its files are closed
}

// Start starts a program.
func Start(program Program) (*Process, error) {
	file, err := os.OpenFile(program.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", program.Name, err)
	}
	defer file.Close()
	command := exec.Command(program.Binary, program.Flags...)
	command.Dir = filepath.Dir(program.Log)
	command.Env = append([]string{}, program.Environment...) // nil would stand for ours
	command.Stdout, command.Stderr = file, file
	command.SysProcAttr = EndWithParent()
	if err := startOnLastingThread(command); err != nil {
		return nil, fmt.Errorf("start %s: %w", program.Name, err)
	}
	p := &Process{name: program.Name, log: program.Log, command: command, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = command.Wait() // how it ended is in its log and in ProcessState
	}()
	return p, nil
}

// Running says whether the process is there.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Stop ends the process as an operator would, and by force if it takes longer than stopTimeout.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Kill ends the process as a power cut would.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	_ = p.command.Process.Kill() // fails only if it has ended
	<-p.exited
}

// WaitUntil polls a process until check succeeds; it gives up when the process ends or the context does.
func (p *Process) WaitUntil(ctx context.Context, state string, check func(context.Context) error) error {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s is not %s in time: %w; its log ends:\n%s", p.name, state, err, Tail(p.log, 15))
		case <-ticks.C:
		}
	}
}

// ended says that the process ended by itself, and why.
func (p *Process) ended() error {
	return fmt.Errorf("%s ended (%s); its log ends:\n%s", p.name, p.command.ProcessState, Tail(p.log, 15))
}

// starts carries work to one thread that lasts as long as the test process: Linux ends such a child with the thread that
// started it, and Go's other threads may go earlier.
var starts = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range work {
			start()
		}
	}()
	return work
})

func startOnLastingThread(command *exec.Cmd) error {
	started := make(chan error)
	starts() <- func() { started <- command.Start() }
	return <-started
}

// Tail returns the last lines of a file, for people to read.
func Tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
