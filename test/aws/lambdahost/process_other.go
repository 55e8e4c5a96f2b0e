//go:build !linux

package lambdahost

import "syscall"

func endWithParent() *syscall.SysProcAttr { return nil }
