package gcp

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	documents = "acme-oidc-documents"
	private   = "acme-oidc-private"
	clusterID = "prod-eu1"
	patience  = time.Minute
)

// cloud is Google's side: Cloud Storage, whose public objects are at their issuer's URL, and the function's services.
type cloud struct {
	*testing.T
	folder   string
	programs string // folder of the binaries
	storage  *gcp.Storage
	front    *httptest.Server // HTTPS for what strangers reach
	services map[string]*service

	issuer      string
	more        string   // settings of the issuer
	environment []string // of the services
}

// service is one of the function's doors.
type service struct {
	process *process.Process
	url     string
	log     string // file
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{T: t, folder: t.TempDir(), programs: t.TempDir(), storage: gcp.StartStorage(t), services: map[string]*service{}}
	for _, name := range []string{documents, private} {
		c.storage.CreateBucket(t, name, true)
	}
	for name, pkg := range map[string]string{"function": "functions/gcp", "cluster-exporter": "cluster-exporter"} {
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(c.programs, name), "github.com/kube-iam-assume/kube-iam-assume/"+pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	c.front = httptest.NewTLSServer(c.hosts())
	t.Cleanup(c.front.Close)
	// The issuer is a URL as Cloud Storage's own host gives one: the bucket's name is part of it, and not of the objects' names.
	c.issuer, c.more = c.front.URL+"/"+documents+"/"+clusterID, ", internal: true"
	c.environment = []string{"SSL_CERT_FILE=" + filepath.Join(c.folder, "roots.pem")}
	c.write("roots.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.front.Certificate().Raw}))
	return c
}

// hosts is what strangers reach: the objects as at storage.googleapis.com/BUCKET/OBJECT, by GET only, and the webhook.
func (c *cloud) hosts() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /"+documents+"/", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(c.address(c.storage.Endpoint)) }})
	mux.Handle("POST /v1/snapshots", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(c.address(c.services["Webhook"].url)) }})
	return mux
}

func (c *cloud) address(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

func (c *cloud) write(name string, content []byte) string {
	c.Helper()
	path := filepath.Join(c.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.Fatal(err)
	}
	return path
}

// deploy writes the settings and starts the services.
func (c *cloud) deploy(bootstrap *kube.Key, targets ...string) {
	c.Helper()
	key, err := jwks.New(bootstrap.Public())
	if err != nil {
		c.Fatal(err)
	}
	enrolled := enrollment.Cluster{ID: clusterID, Generation: 1, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", BootstrapKeys: jwks.Set{key}}
	c.write("clusters/"+clusterID+".yaml", enrolled.Encode())
	c.write("publisher.yaml", []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: acme
issuers: [{url: "`+c.issuer+`", path: `+clusterID+`, clusters: [`+clusterID+`]`+c.more+`}]
clusters: {directory: clusters/}
`))
	for _, target := range targets {
		c.services[target] = c.start(target)
	}
}

func (c *cloud) start(target string) *service {
	c.Helper()
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		c.Fatal(err)
	}
	s := &service{url: fmt.Sprintf("http://127.0.0.1:%d", port), log: filepath.Join(c.folder, target+".log")}
	s.process, err = process.Start(process.Program{
		Name: target, Binary: filepath.Join(c.programs, "function"), Log: s.log, Environment: append(append(c.storage.Environment(), c.environment...),
			"FUNCTION_TARGET="+target, fmt.Sprintf("PORT=%d", port), "LOCAL_ONLY=true", "GOOGLE_CLOUD_PROJECT=acme",
			"DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private),
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { c.end(s.process, s.log) })
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	err = s.process.WaitUntil(ctx, "serving", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/healthz", http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
		}
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	return s
}

func (c *cloud) end(p *process.Process, log string) {
	p.Kill()
	if c.Failed() {
		c.Logf("%s ends:\n%s", filepath.Base(log), process.Tail(log, 25))
	}
}

// schedule is what Cloud Scheduler does every five minutes.
func (c *cloud) schedule() {
	c.Helper()
	response, err := http.Post(c.services["Reconcile"].url, "", nil)
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		c.Fatalf("reconcile: %s %s %v", response.Status, body, err)
	}
}

// export runs the exporter of a cluster, with the token that the kubelet gives it.
func (c *cloud) export(cluster *kube.Cluster) *kube.ProjectedToken {
	c.Helper()
	_, port, _ := strings.Cut(cluster.Endpoints()[0], ":")
	settings := c.write("exporter.yaml", []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: `+clusterID+`
issuer: `+c.issuer+`
pollInterval: 1s
heartbeatInterval: 3s
caBundle: `+filepath.Join(c.folder, "roots.pem")+`
apiServers: {addresses: ["127.0.0.1:`+port+`"]}
destinations: [{publisher: acme, webhook: {url: `+c.front.URL+`/v1/snapshots}}]
`))
	kubelet := cluster.Kubelet(c.T, 0, "kube-iam-assume", "cluster-exporter", 600)
	log := filepath.Join(c.folder, "exporter.log")
	p, err := process.Start(process.Program{
		Name: "cluster-exporter", Binary: filepath.Join(c.programs, "cluster-exporter"), Log: log,
		Flags: []string{
			"--config", settings, "--listen", "127.0.0.1:0", "--api-server", "127.0.0.1:" + port, "--ca-file", cluster.CAFile,
			"--token-file", kubelet.File,
		},
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { c.end(p, log) })
	return kubelet
}

// said is whether one line of a service's log has all of these words.
func (c *cloud) said(target string, words ...string) bool {
	c.Helper()
	log, err := os.ReadFile(c.services[target].log)
	if err != nil {
		c.Fatal(err)
	}
	for line := range bytes.Lines(log) {
		if !slices.ContainsFunc(words, func(word string) bool { return !bytes.Contains(line, []byte(word)) }) {
			return true
		}
	}
	return false
}

// eventually waits until something is so.
func (c *cloud) eventually(what string, so func() bool) {
	c.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if so() {
			return
		}
	}
	c.Fatalf("not within %s: %s", patience, what)
}

// publishes is whether strangers find a key.
func (c *cloud) publishes(key *kube.Key) bool {
	c.Helper()
	response, err := c.front.Client().Get(c.issuer + "/openid/v1/jwks")
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	keys, err := jwks.Parse(body)
	if err != nil {
		return false
	}
	_, found := keys.ByID(key.ID())
	return found
}
