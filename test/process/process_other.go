//go:build !linux

package process

import "syscall"

// EndWithParent can do nothing here: a killed test leaves its servers running.
func EndWithParent() *syscall.SysProcAttr { return nil }
