package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
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

// TestMain makes the certificate of all httptest servers one that the system trusts, so that nothing under test needs to be told.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(nil)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	server.Close()
	folder, err := os.MkdirTemp("", "functions-azure")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(folder, "roots.pem")
	if err := errors.Join(os.WriteFile(file, certificate, 0o600), os.Setenv("SSL_CERT_FILE", file)); err != nil {
		panic(err)
	}
	status := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(status)
}

// rig is the app on stores in memory.
type rig struct {
	*testing.T
	*app
	documents, private *memory.Bucket
	key                snapshottest.Key // of the cluster prod
	exporter           *snapshottest.Exporter
	log                *journal
	now                time.Time
	broken             error // what both stores answer, if not nil
}

const issuer = "https://127.0.0.1:1/prod" // where nobody answers

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{
		T: t, documents: memory.New(memory.UniqueVersions), private: memory.New(memory.UniqueVersions),
		key: snapshottest.NewKey(), log: &journal{}, now: time.Now().Truncate(time.Second),
	}
	r.exporter = snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: "a/b"}.NewExporter("p")
	logger := slog.New(invocationLines{slog.NewJSONHandler(r.log, nil)})
	cluster := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{r.key.Key}}
	p, err := publish.New(publish.Config{
		Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
			URL: issuer, Path: "prod", Retention: 48 * time.Hour, Internal: true, Clusters: []enrollment.Cluster{cluster},
		}}},
		Documents: store{r, r.documents}, Private: store{r, r.private}, Logger: logger, Now: func() time.Time { return r.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.app = &app{publisher: p, door: publish.NewHandler(p), logger: logger}
	return r
}

// store lets a test break the stores.
type store struct {
	r *rig
	*memory.Bucket
}

func (s store) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if s.r.broken != nil {
		return bucket.Object{}, bucket.Absent, s.r.broken
	}
	return s.Bucket.Get(ctx, name)
}

// post is what the host does: JSON to a function's name.
func (r *rig) post(path, body string) (int, string) {
	r.Helper()
	request := httptest.NewRequestWithContext(r.Context(), http.MethodPost, "http://127.0.0.1"+path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Azure-Functions-InvocationId", "0e6a2d1c-5f0b-4f0e-9a57-6f1f2f3f4f5f")
	return r.send(request)
}

// send holds every answer to what the host takes.
func (r *rig) send(request *http.Request) (int, string) {
	r.Helper()
	response := httptest.NewRecorder()
	r.app.ServeHTTP(response, request)
	if response.Header().Get("Content-Type") != "application/json" || !json.Valid(response.Body.Bytes()) {
		r.Errorf("%s: the answer is %v %q", request.URL.Path, response.Header(), response.Body)
	}
	return response.Code, response.Body.String()
}

// web posts a request of the web, and returns what the host answers it with.
func (r *rig) web(function string, headers map[string][]string, body string) webResponse {
	r.Helper()
	req := map[string]any{"Url": "https://app.example.com/", "Method": "POST", "Headers": headers, "Body": body}
	if function == "healthz" {
		req["Method"] = "GET"
	}
	status, answer := r.post("/"+function, string(must(json.Marshal(map[string]any{"Data": map[string]any{"req": req}, "Metadata": map[string]any{}}))))
	var told struct {
		Outputs struct {
			Res *webResponse `json:"res"`
		}
	}
	if err := json.Unmarshal([]byte(answer), &told); err != nil || status != http.StatusOK || told.Outputs.Res == nil {
		r.Fatalf("%s: %d %s, %v", function, status, answer, err)
	}
	return *told.Outputs.Res
}

// message posts a message of the queue.
func (r *rig) message(said string) int {
	r.Helper()
	encoded := must(json.Marshal(string(must(json.Marshal(said)))))
	status, _ := r.post("/queue", fmt.Sprintf(`{"Data": {"message": %s}, "Metadata": {"Id": "\"m1\"", "DequeueCount": "1"}}`, encoded))
	return status
}

func (r *rig) reconciled() {
	r.Helper()
	if status, answer := r.post("/reconcile", `{"Data": {"timer": {}}, "Metadata": {}}`); status != http.StatusOK {
		r.Fatalf("%d %s\n%s", status, answer, r.log)
	}
}

// snapshot is the envelope of one now, attested by the first of the keys.
func (r *rig) snapshot(keys ...snapshottest.Key) string {
	return string(r.exporter.Send(r.now, keys, keys[0]))
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

// publishes reports whether a key is in the public JWKS.
func (r *rig) publishes(key snapshottest.Key) bool {
	return bytes.Contains(r.documents.Snapshot()["prod/openid/v1/jwks"].Body, []byte(key.ID()))
}

func (r *rig) saw(event string) bool { return strings.Contains(r.log.String(), `"event":"`+event+`"`) }

var errStore = errors.New("the store does not answer")

// journal is a log that is read while it is written.
type journal struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (j *journal) Write(data []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buffer.Write(data)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buffer.String()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
