package kube

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// retryRenewal is how long a failed renewal waits for its next try.
const retryRenewal = 5 * time.Second

// A ProjectedToken is a service account token in a file, kept as the kubelet keeps the one of a projected volume: for the
// API server's own audience, renewed when 80 % of its life are over, and the old one left where it is if that fails.
type ProjectedToken struct {
	File string

	cluster            *Cluster
	server             int
	namespace, account string
	seconds            int64

	mu    sync.Mutex
	token string
	due   time.Time // of the next renewal
}

// Kubelet keeps a service account's token in a file until the test ends; it asks one API server, counted from zero. The
// least life Kubernetes gives is 600 s.
func (c *Cluster) Kubelet(t testing.TB, server int, namespace, account string, expirationSeconds int64) *ProjectedToken {
	t.Helper()
	p := &ProjectedToken{
		File: filepath.Join(t.TempDir(), "token"), cluster: c, server: server,
		namespace: namespace, account: account, seconds: expirationSeconds,
	}
	if err := p.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	t.Cleanup(func() { cancel(); done.Wait() })
	done.Go(func() { p.keep(ctx) })
	return p
}

// Token is what the file holds.
func (p *ProjectedToken) Token() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.token
}

// Renew does now what the kubelet would do at the token's 80 %. If it fails, the file keeps the old token.
func (p *ProjectedToken) Renew(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	start := time.Now()
	status, err := p.cluster.requestToken(ctx, p.server, p.namespace, p.account, nil, p.seconds)
	if err == nil {
		err = writeAtomically(p.File, []byte(status.Token))
	}
	if err != nil {
		p.due = start.Add(retryRenewal)
		return fmt.Errorf("renew the token of %s/%s: %w", p.namespace, p.account, err)
	}
	p.token = status.Token
	p.due = start.Add(status.ExpirationTimestamp.Sub(start) * 8 / 10)
	return nil
}

func (p *ProjectedToken) keep(ctx context.Context) {
	for {
		p.mu.Lock()
		due := p.due
		p.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(due)):
		}
		_ = p.Renew(ctx) // a failure has its next try, and shows to the file's reader as an old token
	}
}

// writeAtomically makes a file appear with its whole content, or keep the old one.
func writeAtomically(file string, content []byte) error {
	part := file + ".part"
	if err := os.WriteFile(part, content, 0o600); err != nil {
		return err
	}
	return os.Rename(part, file)
}
