package demo

import "syscall"

// attached keeps a process away from the terminal's Ctrl-C, so that the demo ends it in its order, and makes the system end it with the
// demo, however the demo ends.
func attached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
