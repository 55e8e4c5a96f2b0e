package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// binary is what is deployed, built once for all tests.
var binary string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "kube-iam-assume-gcp-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(folder, "gcp")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(folder)
	os.Exit(code)
}

const (
	documents = "kube-iam-assume-documents"
	private   = "kube-iam-assume-private"
	patience  = 30 * time.Second
)

// cloud is where the binary runs: the package it is deployed in, a server of Cloud Storage, and the world that reads the documents.
type cloud struct {
	*testing.T
	folder   string
	env      []string
	bucket   *gcs.Bucket // of the documents
	storage  *standin.Storage
	world    *httptest.Server
	key      snapshottest.Key
	exporter *snapshottest.Exporter
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{T: t, folder: t.TempDir(), key: snapshottest.NewKey(), storage: standin.StartStorage(t)}
	c.world = httptest.NewTLSServer(http.HandlerFunc(c.document))
	t.Cleanup(c.world.Close)
	c.exporter = snapshottest.Cluster{ID: "prod", Issuer: c.world.URL + "/prod", ServiceAccount: "a/b"}.NewExporter("p")
	for _, name := range []string{documents, private} {
		c.storage.CreateBucket(t, name, true)
	}
	var err error
	if c.bucket, err = gcs.New(c.storage.Client, documents); err != nil {
		t.Fatal(err)
	}
	enrolled := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{c.key.Key}}
	c.write("clusters/prod.yaml", string(enrolled.Encode()))
	c.write("publisher.yaml", `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "`+c.exporter.Issuer+`", clusters: [prod], internal: true}]
clusters: {directory: clusters/}
`)
	roots := c.write("roots.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.world.Certificate().Raw})))
	c.env = append(c.storage.Environment(), "SSL_CERT_FILE="+roots, "DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private,
		"GOOGLE_CLOUD_PROJECT=acme", "LOCAL_ONLY=true")
	return c
}

func (c *cloud) write(name, content string) string {
	c.Helper()
	path := filepath.Join(c.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}

// document is how Cloud Storage answers the world.
func (c *cloud) document(w http.ResponseWriter, r *http.Request) {
	object, _, err := c.bucket.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = w.Write(object.Body)
}

// published is the public JWKS.
func (c *cloud) published() string {
	c.Helper()
	object, _, err := c.bucket.Get(c.Context(), "prod/openid/v1/jwks")
	if err != nil {
		c.Fatal(err)
	}
	return string(object.Body)
}

func (c *cloud) snapshot(keys ...snapshottest.Key) []byte {
	return c.exporter.Send(time.Now(), keys, keys[0])
}

// instance is one process, of one service.
type instance struct {
	c       *cloud
	process *process.Process
	url     string
	logFile string
}

// launch starts a process, which may end again.
func (c *cloud) launch(target string, env ...string) *instance {
	c.Helper()
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		c.Fatal(err)
	}
	i := &instance{c: c, url: fmt.Sprintf("http://127.0.0.1:%d", port), logFile: filepath.Join(c.folder, fmt.Sprintf("%d.log", port))}
	all := append(append([]string{}, c.env...), "FUNCTION_TARGET="+target, fmt.Sprintf("PORT=%d", port))
	i.process, err = process.Start(process.Program{Name: target, Binary: binary, Log: i.logFile, Environment: append(all, env...)})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(i.process.Kill)
	return i
}

// start starts a process and waits until it answers.
func (c *cloud) start(target string, env ...string) *instance {
	c.Helper()
	i := c.launch(target, env...)
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	err := i.process.WaitUntil(ctx, "serving", func(ctx context.Context) error {
		_, _, err := i.try(ctx, http.MethodGet, "/healthz", nil, nil)
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return i
}

type headers map[string]string

func (i *instance) try(ctx context.Context, method, path string, h headers, body []byte) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, method, i.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	for name, value := range h {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

func (i *instance) post(path string, h headers, body []byte) (int, string) {
	i.c.Helper()
	status, content, err := i.try(i.c.Context(), http.MethodPost, path, h, body)
	if err != nil {
		i.c.Fatal(err)
	}
	return status, content
}

// A line is one of the log, as Cloud Logging reads it.
type line struct {
	Severity, Message, Time, Event, Detail, Function string

	Trace string `json:"logging.googleapis.com/trace"`
	Span  string `json:"logging.googleapis.com/spanId"`
}

// log holds every line to what the console and the alarms need, and to what must not be in it, and returns those of an event.
func (i *instance) log(event string) []line {
	i.c.Helper()
	content, err := os.ReadFile(i.logFile)
	if err != nil {
		i.c.Fatal(err)
	}
	if strings.Contains(string(content), "eyJ") {
		i.c.Errorf("there is a token or a snapshot in the log:\n%s", content)
	}
	var found []line
	for text := range strings.Lines(string(content)) {
		var l line
		if err := json.Unmarshal([]byte(text), &l); err != nil || l.Event == "" || l.Message == "" || !severities[l.Severity] {
			i.c.Errorf("a line of the log: %v: %s", err, text)
		}
		if _, err := time.Parse(time.RFC3339Nano, l.Time); err != nil {
			i.c.Errorf("a line of the log: %v: %s", err, text)
		}
		if l.Event == event {
			found = append(found, l)
		}
	}
	return found
}

var severities = map[string]bool{"INFO": true, "WARNING": true, "ERROR": true}

// ended waits for the process to end by itself.
func (i *instance) ended() {
	i.c.Helper()
	ctx, cancel := context.WithTimeout(i.c.Context(), patience)
	defer cancel()
	_ = i.process.WaitUntil(ctx, "ended", func(context.Context) error { return errors.New("it runs") })
	if i.process.Running() {
		i.c.Fatal("the process did not end")
	}
}

func encoded(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}
