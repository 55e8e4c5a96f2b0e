// Package hosted runs the functions of AWS, Google Cloud and Azure for end-to-end tests as publishers of one issuer: each as it is deployed, on an independent
// server of its own cloud's storage, with its documents below one host where strangers read them.
package hosted

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	// ClusterID is that of the one cluster which is enrolled.
	ClusterID = "prod-eu1"

	// Account is its exporter's, namespace/name.
	Account = "kube-iam-assume/cluster-exporter"

	documents = "acme-oidc-documents"
	private   = "acme-oidc-private"
	primary   = "aws" // has the issuer's URL; all others are mirrors
)

// Sites are publishers of one issuer, each called acme/SITE.
type Sites struct {
	*testing.T

	Folder  string             // of all files
	Network *internet.Internet // for what has its real name
	Front   *httptest.Server   // what strangers read
	Mux     *http.ServeMux     // of the front
}

// New has no publisher yet.
func New(t *testing.T) *Sites {
	t.Helper()
	s := &Sites{T: t, Folder: t.TempDir(), Network: internet.New(t), Mux: http.NewServeMux()}
	certificate, err := tls.X509KeyPair(s.Network.Certificate("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	s.Front = httptest.NewUnstartedServer(s.Mux)
	s.Front.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	s.Front.StartTLS()
	t.Cleanup(s.Front.Close)
	return s
}

// Documents is the URL below which a site's documents are.
func (s *Sites) Documents(site string) string { return s.Front.URL + "/" + site + "/" + ClusterID }

// Issuer is the primary's.
func (s *Sites) Issuer() string { return s.Documents(primary) }

// Show leads strangers who read to a site's storage.
func (s *Sites) Show(site, storage string, transport http.RoundTripper) {
	s.Helper()
	to, err := url.Parse(storage)
	if err != nil {
		s.Fatal(err)
	}
	s.Mux.Handle("GET /"+site+"/", http.StripPrefix("/"+site, &httputil.ReverseProxy{
		Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // while it starts
	}))
}

// Write writes a file, and returns its path.
func (s *Sites) Write(name string, content []byte) string {
	s.Helper()
	path := filepath.Join(s.Folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		s.Fatal(err)
	}
	return path
}

// Read is a file's content; "" while there is none.
func (s *Sites) Read(path string) string {
	s.Helper()
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.Fatal(err)
	}
	return string(content)
}

// Build makes one of our programs.
func (s *Sites) Build(name, source string) string {
	s.Helper()
	binary := filepath.Join(s.Folder, name)
	build := exec.CommandContext(s.Context(), "go", "build", "-trimpath", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/"+source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.Fatalf("build %s: %v\n%s", source, err, out)
	}
	return binary
}

// Settings writes what stands beside a site's publisher, into a folder of the site's name.
func (s *Sites) Settings(site string, keys jwks.Set, mirrors ...string) {
	s.Helper()
	enrolled := enrollment.Cluster{ID: ClusterID, Generation: 1, ExporterServiceAccount: Account, BootstrapKeys: keys}
	s.Write(filepath.Join(site, "clusters", ClusterID+".yaml"), enrolled.Encode())
	servedAt := ""
	if site != primary {
		servedAt = "\n  servedAt: " + s.Documents(site)
	}
	s.Write(filepath.Join(site, "publisher.yaml"), []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: acme/`+site+`
issuers:
- url: `+s.Issuer()+`
  path: `+ClusterID+`
  clusters: [`+ClusterID+`]
  internal: true
  mirrors: [`+strings.Join(mirrors, ", ")+`]`+servedAt+`
clusters: {directory: clusters/}
`))
}
