package kube

import (
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

// A process is a running or ended child. A nil process is one that was never started: there is nothing to stop.
type process struct {
	name    string
	log     string
	command *exec.Cmd
	exited  chan struct{} // closed when the process is gone and its files are closed
}

// startProcess runs a binary that writes to a log file, which an earlier run may have begun. The environment is empty:
// proxies and the like are none of its business.
func startProcess(name, log, binary string, flags []string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	defer file.Close()
	command := exec.Command(binary, flags...)
	command.Dir = filepath.Dir(log)
	command.Env = []string{}
	command.Stdout, command.Stderr = file, file
	command.SysProcAttr = endWithParent()
	if err := startOnLastingThread(command); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, log: log, command: command, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = command.Wait() // how it ended is in its log and in ProcessState
	}()
	return p, nil
}

func (p *process) running() bool {
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

// stop ends the process as an operator would, and by force if it takes longer than stopTimeout.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	select {
	case <-p.exited:
	case <-time.After(stopTimeout):
		p.kill()
	}
}

// kill ends the process as a power cut would.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = p.command.Process.Kill() // fails only if it has ended
	<-p.exited
}

// ended says that the process ended by itself, and why.
func (p *process) ended() error {
	return fmt.Errorf("%s ended (%s); its log ends:\n%s", p.name, p.command.ProcessState, tail(p.log, 15))
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

// tail returns the last lines of a file, for people to read.
func tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
