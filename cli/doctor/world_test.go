package doctor_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	issuer   = "https://oidc.example.com/prod"
	mirror   = "https://mirror.example.com/prod"
	account  = "kube-iam-assume/cluster-exporter"
	audience = "sts.amazonaws.com"

	exporterSettings = `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: prod
issuer: ` + issuer + `
destinations: [{publisher: p, webhook: {url: https://hook.example.com/v1/snapshots}}]
`
	exporterMetrics = `# HELP kube_iam_assume_exporter_api_servers_listed API servers that there are.
kube_iam_assume_exporter_api_servers_listed 2
kube_iam_assume_exporter_api_servers_read 2
kube_iam_assume_exporter_last_reading_timestamp_seconds NOW
kube_iam_assume_exporter_last_accepted_timestamp_seconds{publisher="p"} NOW
kube_iam_assume_exporter_problem{about="10.0.0.1:6443",reason="APIServerUnreachable"} 0
go_goroutines 12
`
)

var (
	rsaKey   = sync.OnceValue(snapshottest.NewRSAKey)
	otherKey = sync.OnceValue(snapshottest.NewRSAKey)
	thirdKey = sync.OnceValue(snapshottest.NewRSAKey)
)

// world is a healthy set-up: two API servers, an exporter, a publisher on this machine, the issuer's host and a mirror. A test breaks
// something in it.
type world struct {
	*testing.T
	servers    []*fakeServer
	data       string
	secondData string
	web        map[string]answer // URL → what is served there
	metrics    string
	ready      int
	options    doctor.Options
	first      snapshottest.Key // that the cluster was enrolled with

	authority authority
	listener  *httptest.Server
	mu        sync.Mutex
	asked     map[string]int // path → times
}

// answer is what a URL answers.
type answer struct {
	status int
	header map[string]string
	body   string
	asked  func()        // called when somebody asks, if there is a delay
	delay  chan struct{} // answered when it is closed
	then   string        // instead of body, from the second time on
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, data: t.TempDir(), web: map[string]answer{}, metrics: exporterMetrics, ready: http.StatusOK, authority: newAuthority(t), first: rsaKey(), asked: map[string]int{}}
	for range 2 {
		w.servers = append(w.servers, w.startServer())
	}
	w.publish(rsaKey())
	w.listener = w.serve(http.HandlerFunc(w.document))
	w.options = doctor.Options{
		Config: &rest.Config{Host: w.servers[0].URL, BearerToken: "admin", TLSClientConfig: rest.TLSClientConfig{CAData: w.authority.pem}},
		Issuer: issuer, Mirrors: []string{mirror}, Audiences: []string{audience},
		ExporterSettings: &doctor.File{Name: "exporter.yaml", Data: []byte(exporterSettings)}, ExporterURL: w.startExporter(),
		Publishers: []doctor.Publisher{{Settings: w.settings(), Data: w.data}},
		Stranger:   w.stranger(w.dial), Now: time.Now, Open: location.Open,
		Resolve: func(context.Context, string) ([]string, error) { return []string{"203.0.113.7"}, nil },
	}
	return w
}

func (w *world) stranger(dial stranger.Dialer) stranger.Client {
	w.Helper()
	file := filepath.Join(w.TempDir(), "ca.pem")
	if err := os.WriteFile(file, w.authority.pem, 0o600); err != nil {
		w.Fatal(err)
	}
	return must(stranger.New(file, dial))
}

// dial leads every public name to the one listener.
func (w *world) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, w.listener.Listener.Addr().String())
}

func (w *world) settings() *enrollment.Publisher {
	return &enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
		URL: issuer, Path: "prod", Retention: 48 * time.Hour,
		Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: account, BootstrapKeys: jwks.Set{w.first.Key}}},
	}}}
}

// publish lets the publisher accept a snapshot of keys, and serves what it wrote.
func (w *world) publish(keys ...snapshottest.Key) {
	w.Helper()
	documents, private := must(dir.Open(filepath.Join(w.data, "documents"))), must(dir.Open(filepath.Join(w.data, "private")))
	p := must(publish.New(publish.Config{Settings: *w.settings(), Documents: documents, Private: private}))
	envelope := snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: account}.NewExporter("p").Send(time.Now(), keys, w.first)
	must(p.Accept(w.Context(), envelope))
	for _, path := range []string{stranger.DiscoveryPath, stranger.JWKSPath} {
		object, _, err := documents.Get(w.Context(), "prod"+path)
		if err != nil {
			w.Fatal(err)
		}
		for _, base := range []string{issuer, mirror} {
			w.web[base+path] = answer{status: http.StatusOK, header: map[string]string{"Content-Type": object.ContentType, "Cache-Control": object.CacheControl}, body: string(object.Body)}
		}
	}
}

// change edits what a URL answers.
func (w *world) change(url string, edit func(*answer)) {
	a := w.web[url]
	a.header = maps.Clone(a.header)
	edit(&a)
	w.web[url] = a
}

// replace edits the body at a URL.
func (w *world) replace(url, old, with string) {
	w.Helper()
	if !strings.Contains(w.web[url].body, old) {
		w.Fatalf("%s has no %q", url, old)
	}
	w.change(url, func(a *answer) { a.body = strings.ReplaceAll(a.body, old, with) })
}

func (w *world) document(rw http.ResponseWriter, r *http.Request) {
	a, found := w.web["https://"+r.Host+r.URL.Path]
	if !found {
		http.NotFound(rw, r)
		return
	}
	if a.delay != nil {
		a.asked()
		<-a.delay
	}
	for name, value := range a.header {
		rw.Header().Set(name, value)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked[r.URL.Path]++; w.asked[r.URL.Path] > 1 && a.then != "" {
		a.body = a.then
	}
	rw.WriteHeader(a.status)
	_, _ = io.WriteString(rw, a.body)
}

func (w *world) serve(handler http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{w.authority.leaf}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	w.Cleanup(s.Close)
	return s
}

func (w *world) startExporter() string {
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			rw.WriteHeader(w.ready)
			_, _ = io.WriteString(rw, "not yet")
		case "/metrics":
			_, _ = io.WriteString(rw, strings.ReplaceAll(w.metrics, "NOW", strconv.FormatInt(time.Now().Unix(), 10)))
		default:
			http.NotFound(rw, r)
		}
	}))
	w.Cleanup(s.Close)
	return s.URL
}

// authority makes one certificate for every name in the tests.
type authority struct {
	pem         []byte
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	leaf        tls.Certificate
}

var names = []string{"kubernetes.default.svc", "oidc.example.com", "mirror.example.com", "elsewhere.example.com"}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	a := authority{pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), certificate: must(x509.ParseCertificate(der)), key: key}
	a.leaf = a.issue(time.Now().Add(90*24*time.Hour), names...)
	return a
}

func (a authority) issue(until time.Time, names ...string) tls.Certificate {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	der := must(x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, key.Public(), a.key))
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
