package aws

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	folderVariable  = "KUBE_IAM_ASSUME_TEST_NETWORK"         // inside: the network's folder
	outsideVariable = "KUBE_IAM_ASSUME_TEST_NETWORK_OUTSIDE" // inside: which network is not ours to change
	authorityFile   = "authority.pem"
)

// files are what programs look names up in, as they are inside. The first two are everywhere, the third is glibc's.
var files = map[string]string{
	"/etc/hosts":         "127.0.0.1 localhost\n",
	"/etc/resolv.conf":   "nameserver 127.0.0.1\n",
	"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}

// runInside runs this test binary again, with the same arguments.
func runInside(folder string) (int, error) {
	network, err := os.Readlink(ownNetwork)
	if err != nil {
		return 0, fmt.Errorf("see which network this is: %w", err)
	}
	binary, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the test binary: %w", err)
	}
	command := exec.Command(binary, os.Args[1:]...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	authority, temporary := filepath.Join(folder, authorityFile), filepath.Join(folder, "tmp")
	if err := os.Mkdir(temporary, 0o700); err != nil {
		return 0, fmt.Errorf("make a folder for the tests: %w", err)
	}
	command.Env = append(cleanEnvironment(), folderVariable+"="+folder, outsideVariable+"="+network,
		"SSL_CERT_FILE="+authority, "SSL_CERT_DIR="+filepath.Join(folder, "none"), "NODE_EXTRA_CA_CERTS="+authority,
		"TMPDIR="+temporary) // what tests leave that are interrupted goes with the network's folder
	command.SysProcAttr = process.EndWithParent()
	command.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS
	command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
	command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	runtime.LockOSThread() // the child ends with the thread that started it
	defer runtime.UnlockOSThread()
	signals := make(chan os.Signal, 1)
	for _, end := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM} {
		if !signal.Ignored(end) { // as under nohup, and in the background of a shell
			signal.Notify(signals, end)
		}
	}
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return 0, explain(fmt.Errorf("start the tests in a network of their own: %w", err))
	}
	ended := make(chan struct{})
	go passOn(signals, command.Process, ended)
	err = command.Wait()
	close(ended)
	if failed := new(exec.ExitError); errors.As(err, &failed) && failed.Exited() {
		return failed.ExitCode(), nil // it has said why
	}
	return 0, err
}

// passOn leaves it to the tests how they end, so that this process is there to clean up after them.
func passOn(signals <-chan os.Signal, to *os.Process, ended <-chan struct{}) {
	for {
		select {
		case received := <-signals:
			_ = to.Signal(received) // fails only if it has ended
		case <-ended:
			return
		}
	}
}

const ownNetwork = "/proc/self/ns/net"

// cleanEnvironment lacks what would lead past the stand-in, or into somebody's account.
func cleanEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(variable), "=")
		return strings.HasPrefix(name, "AWS_") || strings.HasSuffix(name, "_PROXY")
	})
}

// explain adds the remedy to what the kernel, or a rule of the distribution's, does not allow.
func explain(err error) error {
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EINVAL) {
		return err
	}
	return fmt.Errorf("%w\nThese tests need user, network and mount namespaces for ordinary users. Allow them with "+
		"`sysctl -w user.max_user_namespaces=10000`, on Debian also `kernel.unprivileged_userns_clone=1`, on Ubuntu also "+
		"`kernel.apparmor_restrict_unprivileged_userns=0`; in a container, let its seccomp profile allow unshare and mount", err)
}

// enter makes the namespaces this process is in a network: addresses, names, and an authority.
func enter(folder string) (*network, error) {
	now, err := os.Readlink(ownNetwork)
	if err != nil {
		return nil, err
	}
	if now == os.Getenv(outsideVariable) || os.Getenv(outsideVariable) == "" {
		return nil, fmt.Errorf("this is the machine's own network: unset %s", folderVariable)
	}
	if err := errors.Join(os.Unsetenv(outsideVariable), os.Unsetenv(folderVariable)); err != nil {
		return nil, err
	}
	if err := addAddresses(); err != nil {
		return nil, err
	}
	if err := coverFiles(folder); err != nil {
		return nil, err
	}
	return newNetwork(folder)
}

// addAddresses puts all of the first address' network onto the loopback interface.
func addAddresses() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(socket)
	loopback, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	loopback.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, loopback); err != nil {
		return fmt.Errorf("start the loopback interface: %w", err)
	}
	label, err := unix.NewIfreq("lo:0") // "lo" itself has 127.0.0.1 already
	if err != nil {
		return err
	}
	if err := label.SetInet4Addr(firstAddress.AsSlice()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFADDR, label); err != nil { // with the 24 bits that its class has
		return fmt.Errorf("add %s to the loopback interface: %w", firstAddress, err)
	}
	return nil
}

// coverFiles mounts ours over the system's, for the processes in here.
func coverFiles(folder string) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	for path, content := range files {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			continue // who does not have it does not read it
		}
		ours := filepath.Join(folder, filepath.Base(path))
		if err := os.WriteFile(ours, []byte(content), 0o600); err != nil {
			return fmt.Errorf("write %s: %w", ours, err)
		}
		if err := unix.Mount(ours, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("cover %s: %w", path, err)
		}
	}
	return nil
}
