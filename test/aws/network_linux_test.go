package aws_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

func TestMain(m *testing.M) { aws.Main(m) }

// TestNothingElseCanBeReached: what a test does in here, it does to nobody.
func TestNothingElseCanBeReached(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"198.51.100.1:443", "1.1.1.1:53", "[2001:db8::1]:443"} {
		connection, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		if !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s: %v, want that no way leads there", address, err)
		}
	}
	for _, name := range []string{"s3." + region + ".amazonaws.com.cn", "iam.amazonaws.com.example.com", "proxy.example.com"} {
		if got, err := net.DefaultResolver.LookupHost(t.Context(), name); err == nil {
			t.Errorf("%s leads to %s", name, got)
		}
	}
}

// TestWithoutNamespaces plays a machine whose users may make none: the tests fail, and say what to do.
func TestWithoutNamespaces(t *testing.T) {
	t.Parallel()
	forbidden := exec.CommandContext(t.Context(), "/bin/sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$0" -test.run='^$'`, os.Args[0])
	forbidden.SysProcAttr = &syscall.SysProcAttr{ // a limit of the namespace it is set in
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	wantRefusal(t, forbidden, "aws.Main: start the tests in a network of their own", "sysctl -w user.max_user_namespaces")
}

// TestNotInTheMachinesNetwork gives a process the variables of one that is inside, and it is not.
func TestNotInTheMachinesNetwork(t *testing.T) {
	t.Parallel()
	network, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, outside := range []string{network, ""} {
		mistaken := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
		mistaken.Env = append(os.Environ(), "KUBE_IAM_ASSUME_TEST_NETWORK="+t.TempDir(), "KUBE_IAM_ASSUME_TEST_NETWORK_OUTSIDE="+outside)
		wantRefusal(t, mistaken, "the machine's own network: unset KUBE_IAM_ASSUME_TEST_NETWORK")
	}
}

func wantRefusal(t *testing.T, command *exec.Cmd, parts ...string) {
	t.Helper()
	output, err := command.CombinedOutput()
	if failed := new(exec.ExitError); !errors.As(err, &failed) || failed.ExitCode() != 1 {
		t.Errorf("ended with %v, want exit status 1: %s", err, output)
	}
	for _, part := range parts {
		if !strings.Contains(string(output), part) {
			t.Errorf("said %q, want %q in it", output, part)
		}
	}
}

const orphanage = "KUBE_IAM_ASSUME_AWS_TEST_WAIT" // makes the test binary start a cloud and wait to be killed

// TestNothingSurvives kills the process that Main runs the tests from, which can't clean anything up.
func TestNothingSurvives(t *testing.T) {
	t.Parallel()
	if os.Getenv(orphanage) != "" {
		aws.StartCloud(t, region)
		fmt.Printf("child %d\n", os.Getpid())
		select {}
	}
	test, children, _ := startOrphanage(t, t.TempDir())
	if err := test.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = test.Wait() // it was killed
	if len(children) != 3 {
		t.Errorf("the tests, S3 and IAM are the processes %v", children)
	}
	waitUntilGone(t, children)
}

// TestInterrupted asks the same process to end: nothing survives, no folder is left, and who asks what it does is told.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	for signal, says := range map[syscall.Signal]string{
		syscall.SIGINT: "signal: interrupt", syscall.SIGTERM: "signal: terminated", syscall.SIGQUIT: "aws_test.TestNothingSurvives",
	} {
		folder := t.TempDir()
		test, children, complaints := startOrphanage(t, folder)
		if found, err := os.ReadDir(folder); err != nil || len(found) != 1 {
			t.Errorf("the network's folder, in which all others are, is one of %v, %v", found, err)
		}
		if err := test.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if err := test.Wait(); err == nil || !strings.Contains(complaints.String(), says) {
			t.Errorf("%s: %v, said %q, want %q in it", signal, err, complaints, says)
		}
		waitUntilGone(t, children)
		if found, err := os.ReadDir(folder); err != nil || len(found) != 0 {
			t.Errorf("%s: left %v, %v", signal, found, err)
		}
	}
}

// startOrphanage runs the test binary until it has a cloud, and returns also the processes inside, and what it will complain.
func startOrphanage(t *testing.T, temporary string) (*exec.Cmd, []int, *bytes.Buffer) {
	t.Helper()
	// A context that ends would do the killing, with its own hand.
	test := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "-test.run=^TestNothingSurvives$")
	test.Env = append(os.Environ(), orphanage+"=1", "TMPDIR="+temporary)
	complaints := new(bytes.Buffer)
	test.Stderr = complaints
	output, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	return test, familyOf(t, readPID(t, bufio.NewScanner(output))), complaints
}

func waitUntilGone(t *testing.T, processes []int) {
	t.Helper()
	for _, pid := range processes {
		for deadline := time.Now().Add(10 * time.Second); !gone(pid); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}

func readPID(t *testing.T, lines *bufio.Scanner) int {
	t.Helper()
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), "child "); found {
			pid, err := strconv.Atoi(text)
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no cloud was started: %v", lines.Err())
	return 0
}

// familyOf is a process and its children.
func familyOf(t *testing.T, parent int) []int {
	t.Helper()
	all, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	family := []int{parent}
	for _, entry := range all {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // no process
		}
		if status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)); err == nil &&
			strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			family = append(family, pid)
		}
	}
	return family
}

// gone takes a zombie for gone: who reaps it depends on where the test runs.
func gone(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || strings.Contains(string(status), "State:\tZ")
}
