package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// rig is a function on stores in memory, whose documents are served to the world, and a CloudFormation that waits for answers.
type rig struct {
	*testing.T
	*handler
	documents, private *memory.Bucket
	world              *httptest.Server
	clouds             *httptest.Server // where CloudFormation waits
	path               string           // before the clusters' own, in their issuers
	key                snapshottest.Key // of the cluster prod, which the settings have
	exporter           *snapshottest.Exporter
	log                *bytes.Buffer

	mu      sync.Mutex
	now     time.Time
	serve   http.Handler // what the world gets, if not the documents
	answers []map[string]any
	broken  func(context.Context) error // what both stores answer, if not nil
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		T: t, documents: memory.New(memory.ContentVersions), private: memory.New(memory.ContentVersions),
		key: snapshottest.NewKey(), log: &bytes.Buffer{}, now: time.Now().Truncate(time.Second),
	}
	r.world = httptest.NewTLSServer(http.HandlerFunc(r.document))
	t.Cleanup(r.world.Close)
	r.clouds = httptest.NewTLSServer(http.HandlerFunc(r.collect))
	t.Cleanup(r.clouds.Close)
	r.exporter = snapshottest.Cluster{ID: "prod", Issuer: r.issuer("prod"), ServiceAccount: "a/b"}.NewExporter("p")
	r.deployed(r.cluster("prod"))
	return r
}

func (r *rig) issuer(id string) string { return r.world.URL + r.path + "/" + id }

func (r *rig) cluster(id string) enrollment.Cluster {
	key := r.key
	if id != "prod" {
		key = snapshottest.NewKey()
	}
	return enrollment.Cluster{ID: id, Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{key.Key}}
}

// deployed makes the function new, with an issuer for each cluster.
func (r *rig) deployed(clusters ...enrollment.Cluster) {
	r.Helper()
	settings := enrollment.Publisher{Name: "p"}
	for _, c := range clusters {
		settings.Issuers = append(settings.Issuers, enrollment.Issuer{
			URL: r.issuer(c.ID), Path: c.ID, Retention: 48 * time.Hour, Internal: true, Clusters: []enrollment.Cluster{c},
		})
	}
	roots := x509.NewCertPool()
	roots.AddCert(r.world.Certificate())
	logger := slog.New(slog.NewJSONHandler(r.log, nil))
	p, err := publish.New(publish.Config{
		Settings: settings, Documents: store{r, r.documents}, Private: store{r, r.private}, Logger: logger, RootCAs: roots,
		Now: func() time.Time { return r.now },
	})
	if err != nil {
		r.Fatal(err)
	}
	r.handler = &handler{publisher: p, door: publish.NewHandler(p), responses: r.clouds.Client(), poll: 5 * time.Millisecond, logger: logger}
}

// store lets a test break the stores.
type store struct {
	r *rig
	*memory.Bucket
}

func (s store) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if s.r.broken != nil {
		if err := s.r.broken(ctx); err != nil {
			return bucket.Object{}, bucket.Absent, err
		}
	}
	return s.Bucket.Get(ctx, name)
}

// document is how a bucket answers the world.
func (r *rig) document(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	serve := r.serve
	r.mu.Unlock()
	if serve != nil {
		serve.ServeHTTP(w, request)
		return
	}
	object, _, err := r.documents.Get(request.Context(), strings.TrimPrefix(request.URL.Path, "/"))
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_, _ = w.Write(object.Body)
}

func (r *rig) collect(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	var answer map[string]any
	if err != nil || json.Unmarshal(body, &answer) != nil || request.Method != http.MethodPut || request.Header.Get("Content-Type") != "" || len(body) > 4096 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, answer)
}

func (r *rig) invoke(event any) (map[string]any, error) {
	r.Helper()
	data, err := r.Invoke(r.Context(), encode(event))
	if err != nil {
		return nil, err
	}
	var answer map[string]any
	if err := json.Unmarshal(data, &answer); err != nil {
		r.Fatalf("the answer %s: %v", data, err)
	}
	return answer, nil
}

// encode is an event's JSON, which text is already.
func encode(event any) []byte {
	if text, ok := event.(string); ok {
		return []byte(text)
	}
	return must(json.Marshal(event))
}

func (r *rig) must(event any) map[string]any {
	r.Helper()
	answer, err := r.invoke(event)
	if err != nil {
		r.Fatal(err)
	}
	return answer
}

// snapshot is the envelope of one now, attested by the first of the keys.
func (r *rig) snapshot(keys ...snapshottest.Key) string {
	return string(r.exporter.Send(r.now, keys, keys[0]))
}

func (r *rig) accept(keys ...snapshottest.Key) {
	r.Helper()
	if _, err := r.publisher.Accept(r.Context(), []byte(r.snapshot(keys...))); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) stored() [2]map[string]bucket.Object {
	return [2]map[string]bucket.Object{r.documents.Snapshot(), r.private.Snapshot()}
}

// untouched makes sure that what is done changes nothing that is stored.
func (r *rig) untouched(name string, do func()) {
	r.Helper()
	before := r.stored()
	do()
	if diff := cmp.Diff(before, r.stored()); diff != "" {
		r.Errorf("%s: something that is stored changed:\n%s", name, diff)
	}
}

// publishes reports whether a key is in the public JWKS of prod.
func (r *rig) publishes(key snapshottest.Key) bool {
	r.Helper()
	set, err := jwks.Parse(r.documents.Snapshot()["prod/openid/v1/jwks"].Body)
	if err != nil {
		r.Fatal(err)
	}
	for _, k := range set {
		if k.Equal(key.Key) {
			return true
		}
	}
	return false
}

func (r *rig) saw(event string) bool { return strings.Contains(r.log.String(), `"event":"`+event+`"`) }

var errStore = errors.New("the store does not answer")

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
