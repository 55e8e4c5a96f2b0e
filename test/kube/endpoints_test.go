package kube

import (
	"strings"
	"testing"
	"time"

	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// One server of its own, through what the other tests reach by chance or never.
func TestServer(t *testing.T) {
	t.Parallel()
	cluster := Start(t, Options{})
	server := cluster.Servers[0]
	t.Run("lost its address in a race", func(t *testing.T) {
		listing := server.client.DiscoveryV1().EndpointSlices(meta.NamespaceDefault)
		slice, err := listing.Get(t.Context(), "kubernetes", meta.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		slice.Endpoints = nil
		if _, err := listing.Update(t.Context(), slice, meta.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := server.waitUntilListed(t.Context()); err != nil || time.Since(start) > 5*time.Second {
			t.Errorf("listed after %s, %v", time.Since(start), err)
		}
		cluster.WaitForEndpoints(t, 0)
	})
	t.Run("is running", func(t *testing.T) {
		if err := server.start(t.Context(), server.Config()); err == nil || !strings.Contains(err.Error(), "stop it first") {
			t.Errorf("a second start got %v", err)
		}
	})
	server.Stop()
	t.Run("ends by itself", func(t *testing.T) {
		config := server.Config()
		config.Flags = []string{"--no-such-flag"}
		err := server.start(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), "unknown flag: --no-such-flag") || server.Running() {
			t.Errorf("got %v", err)
		}
	})
	t.Run("without keys", func(t *testing.T) {
		if err := server.start(t.Context(), Config{}); err == nil {
			t.Error("it started")
		}
	})
}
