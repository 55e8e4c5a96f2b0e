package kube

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// startEtcd returns when etcd serves, which costs the API servers a second of retries otherwise.
func (c *Cluster) startEtcd(ctx context.Context) error {
	clients, err := process.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	peers, err := process.FreePort("127.0.0.1")
	if err != nil {
		return err
	}
	c.etcdURL = fmt.Sprintf("http://127.0.0.1:%d", clients)
	peerURL := fmt.Sprintf("http://127.0.0.1:%d", peers)
	c.etcd, err = process.Start(process.Program{Name: "etcd", Log: filepath.Join(c.folder, "etcd.log"), Binary: c.programs.Etcd, Flags: []string{
		"--name=test",
		"--data-dir=" + filepath.Join(c.folder, "etcd"),
		"--listen-client-urls=" + c.etcdURL,
		"--advertise-client-urls=" + c.etcdURL,
		"--listen-peer-urls=" + peerURL,
		"--initial-advertise-peer-urls=" + peerURL,
		"--initial-cluster=test=" + peerURL,
		"--unsafe-no-fsync",
		"--log-level=warn",
	}})
	if err != nil {
		return err
	}
	direct := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	return c.etcd.WaitUntil(ctx, "healthy", func(ctx context.Context) error {
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
