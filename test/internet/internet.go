// Package internet leads the names of public services to stand-ins on this machine: a proxy by which they are reached, and an
// authority that vouches for them. Programs are tested with the URLs that they have in production, and can reach nothing real: a
// name that nobody serves here is refused.
package internet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

const dialTimeout = 5 * time.Second

// Internet is what there is to reach.
type Internet struct {
	Proxy     string // URL
	Authority []byte // PEM of the authority of all certificates here
	Bundle    string // file with it

	t     testing.TB
	signs *authority

	mu    sync.Mutex
	led   map[string]string // host:port to where it is
	asked map[string]int    // by host
}

// New begins with nobody. What it starts ends with the test.
func New(t testing.TB) *Internet {
	t.Helper()
	signs, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	n := &Internet{t: t, signs: signs, Authority: signs.pem, Bundle: filepath.Join(t.TempDir(), "authority.pem"), led: map[string]string{}, asked: map[string]int{}}
	if err := os.WriteFile(n.Bundle, n.Authority, 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewUnstartedServer(http.HandlerFunc(n.connect))
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	proxy.Start()
	t.Cleanup(proxy.Close)
	n.Proxy = proxy.URL
	return n
}

// Serve makes a service that has these names, at port 443 of each, until the test ends or the function is called.
func (n *Internet) Serve(handler http.Handler, names ...string) (stop func()) {
	n.t.Helper()
	certificate, key := n.Certificate(names...)
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		n.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	stop = sync.OnceFunc(func() {
		server.CloseClientConnections()
		server.Close()
	})
	n.t.Cleanup(stop)
	for _, name := range names {
		n.Lead(name, server.Listener.Addr().String())
	}
	return stop
}

// Lead makes port 443 of a name lead to an address on this machine, whose certificate is of Certificate.
func (n *Internet) Lead(name, address string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.led[net.JoinHostPort(name, "443")] = address
}

// Certificate is one for a service with these names or addresses, and its key, in PEM.
func (n *Internet) Certificate(names ...string) (certificate, key []byte) {
	n.t.Helper()
	certificate, key, err := n.signs.issue(names)
	if err != nil {
		n.t.Fatal(err)
	}
	return certificate, key
}

// Asked is how many connections to a name there were.
func (n *Internet) Asked(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked[name]
}

// Client reaches what is here.
func (n *Internet) Client() *http.Client {
	n.t.Helper()
	proxy, err := url.Parse(n.Proxy)
	if err != nil {
		n.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(n.Authority)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	n.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// connect is the proxy. Loopback addresses are let through as they are.
func (n *Internet) connect(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.Host)
	if r.Method != http.MethodConnect || err != nil {
		http.Error(w, "this proxy takes CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	n.mu.Lock()
	n.asked[host]++
	address, known := n.led[r.Host]
	n.mu.Unlock()
	if ip, err := netip.ParseAddr(host); !known && err == nil && ip.IsLoopback() {
		address, known = r.Host, true
	}
	if !known {
		http.Error(w, "nobody serves "+r.Host+" here", http.StatusBadGateway)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialTimeout)
	defer cancel()
	there, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		http.Error(w, "nobody listens", http.StatusBadGateway)
		return
	}
	w.WriteHeader(http.StatusOK)
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		return
	}
	go move(there, buffered)
	go move(here, there)
}

// move ends with either side: closing what it writes to ends the other direction too.
func move(to net.Conn, from io.Reader) {
	_, _ = io.Copy(to, from) // that a connection broke is seen by who has it
	_ = to.Close()
}
