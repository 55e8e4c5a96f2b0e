//go:build !linux

package kube

import "syscall"

// endWithParent can do nothing here: a killed test leaves its servers running.
func endWithParent() *syscall.SysProcAttr { return nil }
