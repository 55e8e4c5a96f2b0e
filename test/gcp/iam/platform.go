package iam

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const apiHost = "iam.googleapis.com"

// Platform is what a program finds where Google runs it, so that a function is tested as it is deployed, without a setting for tests: the
// metadata server logs it in as its service account, and a proxy leads iam.googleapis.com to the Server and other hosts to where they are said to be.
// The proxy refuses every other host, so nothing goes out by accident.
type Platform struct {
	server   *Server
	metadata *httptest.Server
	proxy    *httptest.Server
	roots    string // file

	mu     sync.Mutex
	routes map[string]string // host:port → address
	open   map[net.Conn]bool
}

// Platform starts one, until the test is over.
func (s *Server) Platform(t testing.TB) *Platform {
	t.Helper()
	pair, certificate, err := selfSigned(apiHost)
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	api.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	api.StartTLS()
	t.Cleanup(api.Close)
	p := &Platform{
		server: s, roots: filepath.Join(t.TempDir(), "roots.pem"), open: map[net.Conn]bool{},
		routes: map[string]string{apiHost + ":443": api.Listener.Addr().String()},
	}
	if err := os.WriteFile(p.roots, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	p.metadata = httptest.NewServer(http.HandlerFunc(p.serveMetadata))
	t.Cleanup(p.metadata.Close)
	p.proxy = httptest.NewServer(http.HandlerFunc(p.connect))
	t.Cleanup(func() {
		p.proxy.Close()
		p.hangUp()
	})
	return p
}

// Environment is what a program must be started with.
func (p *Platform) Environment() []string {
	return []string{
		"GCE_METADATA_HOST=" + strings.TrimPrefix(p.metadata.URL, "http://"), "GOOGLE_APPLICATION_CREDENTIALS=",
		"HTTPS_PROXY=" + p.proxy.URL, "NO_PROXY=127.0.0.1", // not that of whoever runs the test
		"SSL_CERT_FILE=" + p.roots,
	}
}

// Route leads a host, for example that of an issuer, to an address. Its certificate needs Trust.
func (p *Platform) Route(host, address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes[host+":443"] = address
}

// Trust adds certificates (PEM) to those that a program believes which is started later.
func (p *Platform) Trust(t testing.TB, certificates []byte) {
	t.Helper()
	file, err := os.OpenFile(p.roots, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(certificates); err != nil {
		t.Fatal(err)
	}
}

// serveMetadata answers as the metadata server of Cloud Run does: nobody without the header, which no page in a browser can send.
func (p *Platform) serveMetadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" {
		http.Error(w, "Missing Metadata-Flavor:Google header.", http.StatusForbidden)
		return
	}
	switch r.URL.Path {
	case "/computeMetadata/v1/instance/service-accounts/default/token":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": p.server.token, "expires_in": 3599, "token_type": "Bearer"})
	case "/computeMetadata/v1/instance/service-accounts/default/email":
		_, _ = io.WriteString(w, "publisher@project.iam.gserviceaccount.com")
	case "/computeMetadata/v1/project/project-id":
		_, _ = io.WriteString(w, "project")
	case "/computeMetadata/v1/project/numeric-project-id":
		_, _ = io.WriteString(w, "111122223333")
	default:
		http.NotFound(w, r) // the universe too: it is the usual one
	}
}

// connect is the proxy's CONNECT.
func (p *Platform) connect(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	address, known := p.routes[r.Host]
	p.mu.Unlock()
	if r.Method != http.MethodConnect || !known {
		http.Error(w, fmt.Sprintf("no way leads to %s", r.Host), http.StatusBadGateway)
		return
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	there, err := dialer.DialContext(r.Context(), "tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = there.Close()
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.keep(here, there)
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() { pass(there, buffered.Reader); _ = there.Close() })
	both.Go(func() { pass(here, there); _ = here.Close() })
	both.Wait()
	p.forget(here, there)
}

// pass ends when either side hangs up.
func pass(to io.Writer, from io.Reader) { _, _ = io.Copy(to, from) }

func (p *Platform) keep(connections ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range connections {
		p.open[c] = true
	}
}

func (p *Platform) forget(connections ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range connections {
		delete(p.open, c)
	}
}

func (p *Platform) hangUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close()
	}
}

func selfSigned(host string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
