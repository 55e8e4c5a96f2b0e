//go:build !linux

package cdkcli

import "syscall"

func endWithParent() *syscall.SysProcAttr { return nil }
