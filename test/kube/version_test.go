package kube

import (
	"strings"
	"testing"
)

// A server that is another version than its cluster is to be does not count as started.
func TestVersionIsHeld(t *testing.T) {
	t.Parallel()
	cluster := Start(t, Options{})
	server, is := cluster.Servers[0], cluster.Version()
	if err := server.checkVersion(); err != nil {
		t.Error(err)
	}
	cluster.programs.Version = "v1.0.0"
	if err := server.checkVersion(); err == nil || !strings.Contains(err.Error(), "is Kubernetes "+is+", not v1.0.0") {
		t.Errorf("as v1.0.0: %v", err)
	}
}
