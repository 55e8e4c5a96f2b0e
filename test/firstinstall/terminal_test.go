//go:build e2e_aws

package firstinstall

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const question = "(y/n)" // how `cdk deploy` ends what it asks

// inTerminal runs a command as a person does who says yes to every question. It returns what was on the screen, and how many answers that took.
func inTerminal(command *exec.Cmd) (screen string, answers int, err error) {
	master, terminal, err := openTerminal()
	if err != nil {
		return "", 0, fmt.Errorf("open a terminal: %w", err)
	}
	defer master.Close()
	command.Stdin, command.Stdout, command.Stderr = terminal, terminal, terminal
	command.SysProcAttr = process.EndWithParent()
	command.SysProcAttr.Setsid, command.SysProcAttr.Setctty = true, true
	runtime.LockOSThread() // Linux ends such a child with the thread that made it
	defer runtime.UnlockOSThread()
	ended := make(chan error, 1)
	go func() {
		var err error
		screen, answers, err = sayYes(master)
		ended <- err
	}()
	err = command.Run()
	err = errors.Join(err, terminal.Close(), master.SetReadDeadline(time.Now().Add(10*time.Second)), <-ended)
	return screen, answers, err
}

// sayYes reads until nobody has the terminal any more.
func sayYes(master *os.File) (screen string, answers int, err error) {
	var all bytes.Buffer
	part := make([]byte, 4096)
	for {
		n, err := master.Read(part)
		all.Write(part[:n])
		if bytes.Count(all.Bytes(), []byte(question)) > answers {
			answers++
			if _, err := master.WriteString("y\n"); err != nil {
				return all.String(), answers, err
			}
		}
		switch {
		case errors.Is(err, syscall.EIO):
			return all.String(), answers, nil
		case err != nil:
			return all.String(), answers, err
		}
	}
}

// openTerminal makes a pseudo-terminal: its far end, and what a program has.
func openTerminal() (master, terminal *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	raw, err := master.SyscallConn()
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err = errors.Join(err, failed); err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, master.Close())
	}
	return master, terminal, nil
}
