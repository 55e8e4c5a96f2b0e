//go:build !linux

package demo

import "syscall"

// attached can do nothing here: the processes of a demo that was killed stay.
func attached() *syscall.SysProcAttr { return nil }
