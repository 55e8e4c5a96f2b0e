package process

import "syscall"

// EndWithParent makes the system kill a child when this process ends, however it ends.
func EndWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
