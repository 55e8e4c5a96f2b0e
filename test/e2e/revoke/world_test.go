package revoke

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	clusterID = "prod-eu1"
	documents = "acme-oidc-documents"
	private   = "acme-oidc-private"
	patience  = time.Minute
	jwksPath  = "/openid/v1/jwks"
)

// world has four publishers of one issuer, and whatever their doors need.
type world struct {
	*testing.T

	folder     string
	network    *internet.Internet // for what has its real name
	front      *httptest.Server   // what strangers read
	mux        *http.ServeMux
	keys       jwks.Set // that are enrolled
	sites      []publishers.Publisher
	login      map[string]string // of the operator, to every cloud: environment variables
	command    string
	dead, back func() // Google Cloud
}

func newWorld(t *testing.T, keys ...snapshottest.Key) *world {
	t.Helper()
	w := &world{T: t, folder: t.TempDir(), network: internet.New(t), mux: http.NewServeMux(), login: map[string]string{}}
	for _, key := range keys {
		w.keys = append(w.keys, key.Key)
	}
	certificate, err := tls.X509KeyPair(w.network.Certificate("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	w.front = httptest.NewUnstartedServer(w.mux)
	w.front.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	w.front.StartTLS()
	t.Cleanup(w.front.Close)
	w.command = w.build("kube-iam-assume", "cli")
	return w
}

func (w *world) documentsOf(site string) string { return w.front.URL + "/" + site + "/" + clusterID }

func (w *world) issuer() string { return w.documentsOf("aws") }

// join makes a publisher known to the operator. All but the first are mirrors.
func (w *world) join(p publishers.Publisher, site string) {
	if len(w.sites) > 0 {
		p.ServedAt = map[string]string{w.issuer(): w.documentsOf(site)}
	}
	w.sites = append(w.sites, p)
}

// show leads strangers who read to a site's storage.
func (w *world) show(site, storage string, transport http.RoundTripper) {
	w.Helper()
	to, err := url.Parse(storage)
	if err != nil {
		w.Fatal(err)
	}
	w.mux.Handle("GET /"+site+"/", http.StripPrefix("/"+site, &httputil.ReverseProxy{
		Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }, // while it starts
	}))
}

func (w *world) write(name string, content []byte) string {
	w.Helper()
	path := filepath.Join(w.folder, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
		w.Fatal(err)
	}
	return path
}

func (w *world) build(name, source string) string {
	w.Helper()
	binary := filepath.Join(w.folder, name)
	build := exec.CommandContext(w.Context(), "go", "build", "-trimpath", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/"+source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.Fatalf("build %s: %v\n%s", source, err, out)
	}
	return binary
}

// settings writes what stands beside a site's publisher.
func (w *world) settings(site, folder string) {
	w.Helper()
	enrolled := enrollment.Cluster{ID: clusterID, Generation: 1, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", BootstrapKeys: w.keys}
	w.write(filepath.Join(folder, "clusters", clusterID+".yaml"), enrolled.Encode())
	servedAt := ""
	if site != "aws" {
		servedAt = "\n  servedAt: " + w.documentsOf(site)
	}
	w.write(filepath.Join(folder, "publisher.yaml"), []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: acme/`+site+`
issuers:
- url: `+w.issuer()+`
  path: `+clusterID+`
  clusters: [`+clusterID+`]
  internal: true`+servedAt+`
clusters: {directory: clusters/}
`))
}

// published are the keys that a stranger reads at a site.
func (w *world) published(site string) []string {
	w.Helper()
	keys, err := w.read(site)
	if err != nil {
		w.Fatal(err)
	}
	return keys
}

func (w *world) read(site string) ([]string, error) {
	response, err := w.network.Client().Get(w.documentsOf(site) + jwksPath)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	keys, err := jwks.Parse(body)
	return keys.IDs(), err
}

func (w *world) eventually(what string, so func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// run runs the command as the operator, who is logged in everywhere.
func (w *world) run(change map[string]string, words ...string) (exit int, stdout, stderr string) {
	w.Helper()
	var out, complaints bytes.Buffer
	command := exec.CommandContext(w.Context(), w.command, words...)
	command.Dir, command.Stdout, command.Stderr = w.folder, &out, &complaints
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.folder, "SSL_CERT_FILE=" + w.network.Bundle, "HTTPS_PROXY=" + w.network.Proxy}
	for name, value := range w.login {
		if changed, ok := change[name]; ok {
			value = changed
		}
		command.Env = append(command.Env, name+"="+value)
	}
	err := command.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		w.Fatal(err)
	}
	return command.ProcessState.ExitCode(), out.String(), complaints.String()
}

// contains wants all of these texts.
func (w *world) contains(text string, wanted ...string) {
	w.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			w.Errorf("there is no %q in:\n%s", want, text)
		}
	}
}
