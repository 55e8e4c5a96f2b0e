//go:build linux

// Command probe says what a program in a pod can do.
package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	fmt.Println("user", os.Getuid(), "group", os.Getgid(), "args", strings.Join(os.Args[1:], " "), "env", strings.Join(os.Environ(), " "))
	var capabilities [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &capabilities[0]); err != nil {
		fmt.Println(err)
	}
	fmt.Println("capabilities", capabilities[0].Effective|capabilities[0].Permitted|capabilities[1].Effective|capabilities[1].Permitted)
	for _, folder := range []string{"/", "/etc", "/data"} {
		fmt.Println("write", folder, os.WriteFile(folder+"/x", nil, 0o600) == nil)
	}
	entries, err := os.ReadDir("/")
	if err != nil {
		fmt.Println(err)
	}
	for _, entry := range entries {
		fmt.Println("entry", entry.Name())
	}
	for _, address := range []string{"198.51.100.7:443", "198.51.100.8:443", "192.0.2.1:443"} {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			_ = conn.Close()
		}
		fmt.Println("reach", address, err == nil)
	}
	if os.Args[1] == "fail" {
		os.Exit(1)
	}
}
