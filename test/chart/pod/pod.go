//go:build linux

// Package pod runs a pod's first container as the kubelet would, on a machine without a container engine: its own network, a root
// folder that holds nothing but the program and the mounted volumes, no user's rights, and exactly the pod's arguments and environment.
//
// It is no engine: limits, seccomp and several containers are not there, and the program is a static binary, not an image.
package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// A Source is where the kubelet gets what volumes and variables are made of.
type Source interface {
	ConfigMap(ctx context.Context, name string) (map[string]string, error)
	Secret(ctx context.Context, name string) (map[string][]byte, error)
	Token(ctx context.Context, audiences []string, seconds int64) (string, error)
}

// Dial connects to somewhere outside the pod.
type Dial func(ctx context.Context) (net.Conn, error)

// Machine is what surrounds a pod.
type Machine struct {
	Entrypoint  string            // of the image: a static binary
	Source      Source            // may be nil for pods that need none
	Hosts       map[string]string // name → address
	Routes      map[string]Dial   // host:port of 198.51.100.0/24 or 10.0.0.0/8 → where it leads
	Environment []string          // that the kubelet adds
}

// A Pod is a started pod.
type Pod struct {
	Name    string
	Log     string // the file with what the program writes
	root    string
	sockets string
	spec    core.PodSpec
	machine Machine
	process *process.Process
}

// Start starts a pod. It ends with the test.
func Start(t testing.TB, machine Machine, p *core.Pod) *Pod {
	t.Helper()
	sockets, err := os.MkdirTemp("", "pod-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	started := &Pod{Name: p.Name, root: filepath.Join(sockets, "root"), sockets: sockets, Log: filepath.Join(sockets, "log"), spec: p.Spec, machine: machine}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() {
		started.Kill()
		cancel()
		if t.Failed() {
			t.Logf("end of the log of pod %s:\n%s", p.Name, process.Tail(started.Log, 25))
		}
		started.remove()
	})
	if err := started.start(ctx, p); err != nil {
		t.Fatalf("pod %s: %v", p.Name, err)
	}
	return started
}

func (p *Pod) start(ctx context.Context, described *core.Pod) error {
	if err := p.fill(ctx); err != nil {
		return err
	}
	container := p.spec.Containers[0]
	if len(container.Command) > 0 {
		return errors.New("a command instead of the image's entry point: there is no image")
	}
	environment, err := p.environment(ctx, described, container)
	if err != nil {
		return err
	}
	s := sandbox{
		Root: p.root, Argv: append([]string{"/entrypoint"}, container.Args...), Environment: environment,
		Ports: map[string]int{}, Routes: map[string]string{},
	}
	for _, port := range container.Ports {
		s.Ports[p.socket(port.Name)] = int(port.ContainerPort)
	}
	for address, dial := range p.machine.Routes {
		s.Routes[address] = p.socket("to-" + strings.NewReplacer(":", "-", ".", "-").Replace(address))
		if err := lead(ctx, s.Routes[address], dial); err != nil {
			return err
		}
	}
	return p.run(s)
}

func (p *Pod) run(s sandbox) error {
	config, err := json.Marshal(s)
	if err != nil {
		return err
	}
	file := filepath.Join(p.sockets, "sandbox.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	p.process, err = process.Start(process.Program{Name: "pod " + p.Name, Binary: binary, Environment: []string{variable + "=" + file}, Log: p.Log})
	return err
}

func (p *Pod) socket(name string) string { return filepath.Join(p.sockets, name+".sock") }

// Dial connects to a named port of the pod.
func (p *Pod) Dial(port string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", p.socket(port))
	}
}

// Client speaks HTTP with a named port of the pod, whatever the URL's host.
func (p *Pod) Client(port string) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return p.Dial(port)(ctx) },
	}}
}

// Running says whether the program is there.
func (p *Pod) Running() bool { return p.process.Running() }

// Stop ends the program as the kubelet does.
func (p *Pod) Stop() { p.process.Stop() }

// Kill ends the program as the end of its node does.
func (p *Pod) Kill() { p.process.Kill() }

// Wait waits for the program to end by itself, and returns whether it succeeded.
func (p *Pod) Wait(ctx context.Context) (succeeded bool, err error) {
	for p.Running() {
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("pod %s still runs: %w", p.Name, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
	_, err = os.Stat(filepath.Join(p.sockets, "succeeded"))
	return err == nil, nil
}

// Output is what the program has written.
func (p *Pod) Output(t testing.TB) string {
	t.Helper()
	data, err := os.ReadFile(p.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (p *Pod) remove() {
	_ = filepath.WalkDir(p.sockets, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return err
	})
	_ = os.RemoveAll(p.sockets)
}
