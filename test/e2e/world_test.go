// Package e2e takes real API servers' keys the whole way: read, vouched for, sent, judged, published over HTTPS, and accepted by an
// independent OpenID Connect verifier, through rotations of every kind.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	account      = "kube-iam-assume/cluster-exporter"
	audience     = "sts.amazonaws.com"
	pollInterval = time.Second     // a tenth of the default
	refetch      = 6 * time.Second // a tenth of what a cloud is thought to do
	patience     = 2 * time.Minute // longer than an exporter waits after a refusal
)

// world is a publisher with its web server. Its clock and storage are real.
type world struct {
	*testing.T
	web       *httptest.Server
	documents *dir.Bucket
	private   *dir.Bucket
	log       *lockedBuffer

	mu        sync.Mutex
	settings  enrollment.Publisher
	publisher *publish.Publisher
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, log: &lockedBuffer{}, documents: must(dir.Open(filepath.Join(t.TempDir(), "documents"))), private: must(dir.Open(filepath.Join(t.TempDir(), "private")))}
	w.web = httptest.NewTLSServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.web.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of publisher and exporters:\n%s", w.log.tail(60))
		}
	})
	return w
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		w.mu.Lock()
		p := w.publisher
		w.mu.Unlock()
		publish.NewHandler(p).ServeHTTP(rw, r)
		return
	}
	object, _, err := w.documents.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		http.NotFound(rw, r)
		return
	}
	rw.Header().Set("Content-Type", object.ContentType)
	_, _ = rw.Write(object.Body)
}

func (w *world) issuer(path string) string { return w.web.URL + "/" + path }

// deploy gives the publisher settings, as a restart with new files would.
func (w *world) deploy(issuers ...enrollment.Issuer) {
	w.Helper()
	settings := enrollment.Publisher{Name: "test", Issuers: issuers}
	p := must(publish.New(publish.Config{
		Settings: settings, Documents: w.documents, Private: w.private, RootCAs: w.roots(),
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)),
	}))
	w.mu.Lock()
	w.settings, w.publisher = settings, p
	w.mu.Unlock()
	w.reconcile()
}

func (w *world) reconcile() {
	w.Helper()
	if err := w.publisher.Reconcile(w.Context()); err != nil {
		w.Fatal(err)
	}
}

func (w *world) operate(s rotation.Statement) {
	w.Helper()
	s.Reason = "test"
	if _, err := w.publisher.Operate(w.Context(), s); err != nil {
		w.Fatalf("%s: %v", s.Action, err)
	}
}

func (w *world) enroll(path string, shared bool, clusters ...enrollment.Cluster) enrollment.Issuer {
	return enrollment.Issuer{URL: w.issuer(path), Path: path, Retention: 48 * time.Hour, Internal: true, Shared: shared, Clusters: clusters}
}

func cluster(id string, keys ...*kube.Key) enrollment.Cluster {
	return enrollment.Cluster{ID: id, Generation: 1, ExporterServiceAccount: account, BootstrapKeys: set(keys...)}
}

func set(keys ...*kube.Key) jwks.Set {
	var s jwks.Set
	for _, key := range keys {
		s = append(s, must(jwks.New(key.Public())))
	}
	return s
}

// published are the IDs of the keys at an issuer's public URL.
func (w *world) published(path string) jwks.Set {
	w.Helper()
	response, err := w.web.Client().Get(w.issuer(path) + "/openid/v1/jwks")
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		w.Fatal(err)
	}
	keys, err := jwks.Parse(body.Bytes())
	if err != nil {
		return nil
	}
	return keys
}

// waitPublished waits until a key is published, or is not, and returns when that was.
func (w *world) waitPublished(path string, key *kube.Key, want bool) time.Time {
	w.Helper()
	return w.waitPublishedID(path, key.ID(), want)
}

func (w *world) waitPublishedID(path, id string, want bool) time.Time {
	w.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if _, ok := w.published(path).ByID(id); ok == want {
			return time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.Fatalf("key %s: published is not %v after %s", id, want, patience)
	return time.Time{}
}

// waitLog waits until the publisher or an exporter has logged a line with all of these words.
func (w *world) waitLog(words ...string) {
	w.Helper()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if w.log.has(words...) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	w.Fatalf("nothing with %q was logged after %s", words, patience)
}

// replica is an exporter in the cluster, with its own copy of what the kubelet projects.
type replica struct {
	stop    func()
	kubelet *kube.ProjectedToken
}

// export starts an exporter with the token that the kubelet gives it.
func (w *world) export(c *kube.Cluster, id, path string, kubelet *kube.ProjectedToken) *replica {
	w.Helper()
	folder := w.TempDir()
	bundle := filepath.Join(folder, "ca.pem")
	if err := os.WriteFile(bundle, certificatePEM(w.web), 0o600); err != nil {
		w.Fatal(err)
	}
	settings := must(exporter.ParseSettings("exporter.yaml", []byte(`
apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: `+id+`
issuer: `+w.issuer(path)+`
pollInterval: `+pollInterval.String()+`
heartbeatInterval: 10s
caBundle: `+bundle+`
destinations: [{publisher: test, webhook: {url: `+w.web.URL+`/v1/snapshots}}]
`)))
	e := must(exporter.New(settings, exporter.Options{
		Access: exporter.Access{Address: kube.ServiceAddress, CAFile: c.CAFile, TokenFile: kubelet.File, Dial: c.Dial},
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)), Version: "test",
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan struct{})
	go func() { e.Run(ctx); close(done) }()
	r := &replica{kubelet: kubelet, stop: sync.OnceFunc(func() { cancel(); <-done })}
	w.Cleanup(r.stop)
	return r
}

// consumer verifies tokens as a cloud does: with go-oidc, refetching the keys now and then and on an unknown key ID.
type consumer struct {
	w      *world
	issuer string

	mu      sync.Mutex
	keys    oidc.KeySet
	fetched time.Time
}

func (w *world) consumer(path string) *consumer { return &consumer{w: w, issuer: w.issuer(path)} }

func (c *consumer) verify(ctx context.Context, token string) error {
	c.mu.Lock()
	if time.Since(c.fetched) > refetch {
		c.keys, c.fetched = oidc.NewRemoteKeySet(oidc.ClientContext(context.WithoutCancel(ctx), c.w.web.Client()), c.issuer+"/openid/v1/jwks"), time.Now()
	}
	keys := c.keys
	c.mu.Unlock()
	verifier := oidc.NewVerifier(c.issuer, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}})
	_, err := verifier.Verify(ctx, token)
	return err
}

type lockedBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	return len(p), nil
}

func (b *lockedBuffer) has(words ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range b.lines {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			return true
		}
	}
	return false
}

func (b *lockedBuffer) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = nil
}

func (b *lockedBuffer) tail(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines[max(0, len(b.lines)-n):], "")
}

func keyID(token string) string {
	header, _, _ := strings.Cut(token, ".")
	var h struct {
		KeyID string `json:"kid"`
	}
	_ = json.Unmarshal(must(decodePart(header)), &h)
	return h.KeyID
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
