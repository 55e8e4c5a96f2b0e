package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const orphanage = "PROCESS_TEST_START_AND_WAIT" // makes the test binary start a child and wait to be killed

// A test process that is killed has no chance to clean up.
func TestNothingSurvivesTheTestProcess(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv(orphanage) != "" {
		p, err := Start(Program{Name: "sleep", Log: filepath.Join(t.TempDir(), "log"), Binary: sleep, Flags: []string{"600"}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("child %d\n", p.command.Process.Pid)
		<-p.exited
		return
	}
	test := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	test.Env = append(os.Environ(), orphanage+"=1")
	output, err := test.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := test.Start(); err != nil {
		t.Fatal(err)
	}
	child := readPID(t, bufio.NewScanner(output))
	if err := syscall.Kill(child, 0); err != nil {
		t.Fatalf("the child is not there: %v", err)
	}
	if err := test.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = test.Wait() // it was killed
	for deadline := time.Now().Add(10 * time.Second); !gone(child); time.Sleep(pollInterval) {
		if time.Now().After(deadline) {
			t.Fatalf("the child %d is still there", child)
		}
	}
}

// gone takes a zombie for gone: who reaps it depends on where the test runs.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err != nil || strings.Contains(string(status), "State:\tZ")
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
	t.Fatalf("no child was started: %v", lines.Err())
	return 0
}
