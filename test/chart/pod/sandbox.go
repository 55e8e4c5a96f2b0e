//go:build linux

package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	variable = "KUBE_IAM_ASSUME_TEST_SANDBOX" // names the file with the sandbox, in the process that becomes it
	inside   = "KUBE_IAM_ASSUME_TEST_INSIDE"
	user     = 65532 // whom distroless images run as
)

// A sandbox is what keeps a pod's network, and runs its program.
type sandbox struct {
	Root        string
	Argv        []string
	Environment []string
	Ports       map[string]int    // socket outside → port inside
	Routes      map[string]string // host:port inside → socket outside
}

// Main must be called first in TestMain: a test binary that was started to be a sandbox becomes it, and does not return.
func Main() {
	file := os.Getenv(variable)
	if file == "" {
		return
	}
	if err := become(file); err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1) //nolint:revive // deep-exit: this process is nothing else
	}
	os.Exit(0) //nolint:revive // the same
}

func become(file string) error {
	runtime.LockOSThread() // children end with the thread that started them
	if os.Getenv(inside) == "" {
		return enter(file)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s sandbox
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	if err := s.connect(); err != nil {
		return err
	}
	return s.run(filepath.Join(filepath.Dir(file), "succeeded"))
}

// enter starts this binary again, in namespaces of its own, where it may make a network.
func enter(file string) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(binary)
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	command.Env = []string{variable + "=" + file, inside + "=1"}
	command.SysProcAttr = process.EndWithParent()
	command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
	command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	return runWithSignals(command)
}

// run runs the program in its root folder, as a user without rights.
func (s sandbox) run(succeeded string) error {
	command := &exec.Cmd{Path: s.Argv[0], Args: s.Argv, Env: s.Environment, Dir: "/", Stdout: os.Stdout, Stderr: os.Stderr}
	command.SysProcAttr = process.EndWithParent()
	command.SysProcAttr.Chroot = s.Root
	command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
	command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: 0, Size: 1}}
	command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: user, HostID: 0, Size: 1}}
	if err := runWithSignals(command); err != nil {
		return err
	}
	return os.WriteFile(succeeded, nil, 0o600)
}

// runWithSignals leaves it to the child how it ends.
func runWithSignals(command *exec.Cmd) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	if err := command.Start(); err != nil {
		return fmt.Errorf("%w (the tests need user and network namespaces for ordinary users: sysctl user.max_user_namespaces, "+
			"kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)", err)
	}
	go func() {
		for received := range signals {
			_ = command.Process.Signal(received) // fails only if it has ended
		}
	}()
	return command.Wait()
}

// connect makes the network: the loopback interface with the addresses that routes are at, and what leads in and out.
func (s sandbox) connect() error {
	for label, address := range map[string][4]byte{"lo": {127, 0, 0, 1}, "lo:0": {198, 51, 100, 1}, "lo:1": {10, 96, 0, 1}} {
		if err := addAddress(label, address); err != nil {
			return fmt.Errorf("add %v to the loopback interface: %w", address, err)
		}
	}
	for address, socket := range s.Routes {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go relay(context.Background(), listener, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "unix", socket) })
	}
	for socket, port := range s.Ports {
		listener, err := net.Listen("unix", socket)
		if err != nil {
			return err
		}
		to := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		go relay(context.Background(), listener, func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp", to) })
	}
	return nil
}

// addAddress gives a label of the loopback interface an address, with all others of its class, and starts it.
func addAddress(label string, address [4]byte) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq(label)
	if err != nil {
		return err
	}
	if label != "lo" {
		if err := request.SetInet4Addr(address[:]); err != nil {
			return err
		}
		return unix.IoctlIfreq(socket, unix.SIOCSIFADDR, request)
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// lead makes a socket lead somewhere until the context ends.
func lead(ctx context.Context, socket string, dial Dial) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go relay(ctx, listener, dial)
	return nil
}

func relay(ctx context.Context, listener net.Listener, dial Dial) {
	for {
		from, err := listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		go func() {
			defer from.Close()
			limited, cancel := context.WithTimeout(ctx, 10*time.Second)
			to, err := dial(limited)
			cancel()
			if err != nil {
				return // as a refused connection, nearly
			}
			defer to.Close()
			defer context.AfterFunc(ctx, func() { _ = from.Close(); _ = to.Close() })()
			exchange(from, to)
		}()
	}
}

// exchange carries what each says to the other, until either is done.
func exchange(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			if half, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = half.CloseWrite()
			}
		})
	}
	both.Wait()
}
