package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var cluster = snapshottest.Cluster{ID: "prod", Issuer: "https://127.0.0.1:1/clusters/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}

const keysPath = "/clusters/prod/openid/v1/jwks"

// machine is a folder with everything an operator gives the publisher.
type machine struct {
	options
	folder string
	roots  *x509.CertPool // of every certificate that was made
}

func newMachine(t *testing.T, key snapshottest.Key) *machine {
	t.Helper()
	folder := t.TempDir()
	at := func(name string) string { return filepath.Join(folder, name) }
	m := &machine{folder: folder, roots: x509.NewCertPool(), options: options{
		settings: at("publisher.yaml"), data: at("data"), listen: "127.0.0.1:0", cert: at("tls.crt"), key: at("tls.key"), reconcile: time.Hour,
	}}
	enrolled := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: jwks.Set{key.Key}}
	m.write(t, "clusters/prod.yaml", enrolled.Encode())
	m.write(t, "publisher.yaml", []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "`+cluster.Issuer+`", path: elsewhere, clusters: [prod], internal: true}]
clusters: {directory: clusters/}
`))
	m.renew(t, "first")
	return m
}

func (m *machine) write(t *testing.T, name string, content []byte) {
	t.Helper()
	file := filepath.Join(m.folder, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// renew writes another certificate, and trusts it.
func (m *machine) renew(t *testing.T, name string) {
	t.Helper()
	certificate, key := newCertificate(t, name)
	m.write(t, "tls.crt", certificate)
	m.write(t, "tls.key", key)
	m.roots.AppendCertsFromPEM(certificate)
}

// running is a publisher that serves.
type running struct {
	url    string
	client *http.Client
	log    *journal
	end    func() error
}

// start runs what main does, and returns when it listens.
func (m *machine) start(t *testing.T) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log, ended := &journal{}, make(chan error, 1)
	go func() { ended <- m.run(ctx, slog.New(slog.NewJSONHandler(log, nil))) }()
	end := sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = end() })
	within(t, "a line that says where it listens", func() bool { return log.find("server.listening") != nil })
	address, _ := log.find("server.listening")["address"].(string)
	return &running{url: "https://" + address, log: log, end: end, client: &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: m.roots, MinVersion: tls.VersionTLS12}},
	}}
}

// journal is a log that can be looked into.
type journal struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (j *journal) Write(line []byte) (int, error) {
	var event map[string]any
	err := json.Unmarshal(line, &event)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, event)
	return len(line), err
}

func (j *journal) find(event string) map[string]any {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, line := range j.lines {
		if line["event"] == event {
			return line
		}
	}
	return nil
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
	name   string // of the certificate
}

func (r *running) do(t *testing.T, method, path, etag string, body []byte) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(data), response.TLS.PeerCertificates[0].Subject.CommonName}
}

// until repeats a request until the answer is the wanted one.
func (r *running) until(t *testing.T, what string, good func(reply) bool) (answer reply) {
	t.Helper()
	within(t, what, func() bool {
		answer = r.do(t, "GET", keysPath, "", nil)
		return good(answer)
	})
	return answer
}

func within(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !good(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func published(answer reply) bool { return answer.status == http.StatusOK }

func TestServes(t *testing.T) {
	t.Parallel()
	a, b := snapshottest.NewKey(), snapshottest.NewKey()
	m := newMachine(t, a)
	server := m.start(t)
	r := server.until(t, "document", published)
	etag := r.header.Get("ETag")
	if !strings.Contains(r.body, a.ID()) || len(etag) < 40 || r.header.Get("Content-Type") != "application/json" ||
		r.header.Get("Cache-Control") != "public, max-age=60, must-revalidate" {
		t.Fatalf("%+v", r)
	}
	for _, test := range []struct {
		method, path, etag string
		want               int
		allow              string
	}{
		{"HEAD", keysPath, "", 200, ""},
		{"HEAD", keysPath, etag, 304, ""},
		{"GET", keysPath, etag, 304, ""},
		{"GET", keysPath, `"other", ` + etag, 304, ""},
		{"GET", keysPath, `"other"`, 200, ""},
		{"GET", "/clusters/prod/.well-known/openid-configuration", "", 200, ""},
		{"POST", keysPath, "", 405, "GET, HEAD"},
		{"DELETE", keysPath, "", 405, "GET, HEAD"},
		{"GET", "/healthz", "", 200, ""},
		{"GET", "/v1/snapshots", "", 405, "POST"},
		{"GET", "/", "", 404, ""},
		{"GET", "/elsewhere/openid/v1/jwks", "", 404, ""},
		{"GET", "/clusters/../private/state", "", 404, ""},
		{"GET", "/clusters/prod/%2e%2e/%2e%2e/private/state", "", 404, ""},
		{"GET", keysPath + "/", "", 404, ""},
		{"POST", "/v1/snapshots", "", 400, ""},
		{"POST", "/v1/statements", "", 404, ""},
	} {
		r := server.do(t, test.method, test.path, test.etag, nil)
		empty := test.method == "HEAD" || test.want == http.StatusNotModified
		if r.status != test.want || empty && r.body != "" || r.header.Get("Allow") != test.allow {
			t.Errorf("%s %s: %+v, want %d", test.method, test.path, r, test.want)
		}
	}
	if r := server.do(t, "POST", "/v1/snapshots", "", bytes.Repeat([]byte("x"), 1<<20)); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a megabyte: %+v", r)
	}
	if r := server.do(t, "POST", "/v1/snapshots", "", cluster.NewExporter("p").Send(time.Now(), []snapshottest.Key{a, b}, a)); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	changed := server.do(t, "GET", keysPath, etag, nil)
	if changed.status != http.StatusOK || changed.header.Get("ETag") == etag || !strings.Contains(changed.body, b.ID()) {
		t.Errorf("after a change: %+v", changed)
	}
	if err := server.end(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	again := m.start(t).until(t, "document", published)
	if again.body != changed.body || again.header.Get("ETag") != changed.header.Get("ETag") {
		t.Errorf("after a restart %+v, before %+v", again, changed)
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	m := newMachine(t, snapshottest.NewKey())
	server := m.start(t)
	named := func(name string) func(reply) bool { return func(r reply) bool { return r.name == name } }
	server.until(t, "first certificate", named("first"))
	m.renew(t, "second")
	server.until(t, "second certificate", named("second"))
	m.write(t, "tls.crt", []byte("half written"))
	server.until(t, "word of the broken certificate", func(r reply) bool {
		if r.name != "second" {
			t.Errorf("served %q while the files are broken", r.name)
		}
		return server.log.find("certificate.failed") != nil
	})
	m.renew(t, "third")
	server.until(t, "third certificate", named("third"))
}

// Two issuers may have one path, if their hosts differ.
func TestSamePath(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		first, second, host, want string
	}{
		{"https://a.example/x", "https://b.example/x", "a.example", "first"},
		{"https://a.example/x", "https://b.example/x", "b.example:8443", "second"},
		{"https://a.example/x", "https://b.example/x", "c.example", ""},
		{"https://a.example/x", "https://b.example/y", "proxy.internal", "first"},
		{"https://a.example", "https://b.example/x", "proxy.internal", "second"},
		{"https://a.example:1/x", "https://a.example:2/x", "", "refused"},
	} {
		ask(t, []enrollment.Issuer{{URL: test.first, Path: "1"}, {URL: test.second, Path: "2"}}, test.host, test.want)
	}
}

// A mirror serves at its own place, and at the issuer's, whose name may lead here one day.
func TestPlacesOfAMirror(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		url, servedAt, second, host, want string
	}{
		{"https://primary.example/prod", "https://mirror.example/x", "https://b.example/y", "mirror.example", "first"},
		{"https://primary.example/x", "https://mirror.example/prod", "https://b.example/y", "primary.example", "first"},
		{"https://primary.example/x", "https://mirror.example/x", "https://b.example/y", "proxy.internal", "first"},
		{"https://primary.example/prod", "https://mirror.example/prod", "https://b.example/y", "mirror.example", ""},
		{"https://primary.example/prod", "https://b.example/x", "https://b.example/x", "", "refused"},
		{"https://primary.example/x", "https://mirror.example/x", "https://b.example/x", "mirror.example", "first"},
		{"https://primary.example/x", "https://mirror.example/x", "https://b.example/x", "primary.example", "first"},
		{"https://primary.example/x", "https://mirror.example/x", "https://b.example/x", "b.example", "second"},
	} {
		ask(t, []enrollment.Issuer{{URL: test.url, ServedAt: test.servedAt, Path: "1"}, {URL: test.second, Path: "2"}}, test.host, test.want)
	}
}

// ask asks a publisher of these issuers, whose documents are called first and second, for the one at /x; it may be "refused" to start.
func ask(t *testing.T, issuers []enrollment.Issuer, host, want string) {
	t.Helper()
	documents := memory.New(memory.UniqueVersions)
	for object, body := range map[string]string{"1/openid/v1/jwks": "first", "2/openid/v1/jwks": "second"} {
		if _, err := documents.Put(t.Context(), object, bucket.Object{Body: []byte(body), ContentType: "application/json"}, ""); err != nil {
			t.Fatal(err)
		}
	}
	settings := enrollment.Publisher{Name: "p", Issuers: issuers}
	p, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: memory.New(memory.UniqueVersions)})
	if err != nil {
		t.Fatal(err)
	}
	site, err := newSite(p, documents, settings, slog.New(slog.DiscardHandler))
	if (err != nil) != (want == "refused") {
		t.Errorf("%+v: %v", issuers, err)
	}
	if err != nil {
		return
	}
	request := httptest.NewRequestWithContext(t.Context(), "GET", "/x/openid/v1/jwks", http.NoBody)
	request.Host = host
	recorder := httptest.NewRecorder()
	site.ServeHTTP(recorder, request)
	if got := recorder.Body.String(); recorder.Code == http.StatusOK && got != want || recorder.Code != http.StatusOK && want != "" {
		t.Errorf("%+v, asked at %s: %d %s, want %q", issuers, host, recorder.Code, got, want)
	}
}

func TestRefusesToStart(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(*machine){
		"--reconcile-interval": func(m *machine) { m.reconcile = 0 },
		"holds no certificate": func(m *machine) { m.options.roots = m.options.key },
		"certificate: ":        func(m *machine) { m.cert = m.settings },
		"no such file":         func(m *machine) { m.settings += "x" },
		"address":              func(m *machine) { m.listen = "127.0.0.1:99999" },
	} {
		m := newMachine(t, snapshottest.NewKey())
		spoil(m)
		if err := m.run(t.Context(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
