package chart_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

// network is the pods'. API servers reach it by a proxy at a socket, as those of managed control planes do; nobody else is in it.
type network struct {
	config string // the file of --egress-selector-config-file

	mu   sync.Mutex
	pods int
	at   map[string]pod.Dial // address:port → where it leads
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	folder, err := os.MkdirTemp("", "net-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	n := &network{config: filepath.Join(folder, "egress.json"), at: map[string]pod.Dial{}}
	socket := filepath.Join(folder, "proxy.sock")
	config := fmt.Sprintf(`{"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration", "egressSelections": [
{"name": "cluster", "connection": {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": %q}}}}]}`, socket)
	if err := os.WriteFile(n.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: n, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return n
}

// add gives a pod an address.
func (n *network) add(p *pod.Pod, ports []core.ContainerPort) (ip string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods++
	ip = "10.244.0." + strconv.Itoa(n.pods)
	for _, port := range ports {
		n.at[net.JoinHostPort(ip, strconv.Itoa(int(port.ContainerPort)))] = p.Dial(port.Name)
	}
	return ip
}

// ServeHTTP connects an API server with a pod.
func (n *network) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	dial, found := n.at[r.Host]
	n.mu.Unlock()
	if r.Method != http.MethodConnect || !found {
		http.Error(rw, "no pod is there", http.StatusBadGateway)
		return
	}
	to, err := dial(r.Context())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	from, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	if _, err := io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(to, from)
		_ = to.Close()
	}()
	_, _ = io.Copy(from, to)
}
