package cdkcli

import "syscall"

// endWithParent makes the system kill a child when this process ends, however it ends.
func endWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
