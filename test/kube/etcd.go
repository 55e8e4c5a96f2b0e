package kube

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"
)

// startEtcd returns when etcd serves, which costs the API servers a second of retries otherwise.
func (c *Cluster) startEtcd(ctx context.Context) error {
	clients, err := freePort("127.0.0.1")
	if err != nil {
		return err
	}
	peers, err := freePort("127.0.0.1")
	if err != nil {
		return err
	}
	c.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", clients)
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", peers)
	c.etcd, err = startProcess("etcd", filepath.Join(c.folder, "etcd.log"), filepath.Join(c.binaries, "etcd"), []string{
		"--name=test",
		"--data-dir=" + filepath.Join(c.folder, "etcd"),
		"--listen-client-urls=" + c.etcdURL,
		"--advertise-client-urls=" + c.etcdURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=test=" + peerURL,
		"--unsafe-no-fsync",
		"--log-level=warn",
	})
	if err != nil {
		return err
	}
	direct := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	return c.etcd.waitUntil(ctx, "healthy", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.etcdURL+"/health", nil)
		if err != nil {
			return err
		}
		return expectOK(direct, request)
	})
}

// expectOK sends a request and wants 200.
func expectOK(client *http.Client, request *http.Request) error {
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", request.URL, response.Status)
	}
	return nil
}

// waitUntil polls a process until check succeeds; it gives up when the process ends or the context does.
func (p *process) waitUntil(ctx context.Context, state string, check func(context.Context) error) error {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s is not %s in time: %w; its log ends:\n%s", p.name, state, err, tail(p.log, 15))
		case <-ticks.C:
		}
	}
}
