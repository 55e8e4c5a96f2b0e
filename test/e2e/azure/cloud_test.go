package azure

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/functionshost"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	clusterID = "prod-eu1"
	patience  = time.Minute
)

// cloud is Azure's side: a storage account, whose public container is at the issuer's URL, and a function app.
type cloud struct {
	*testing.T
	storage *azure.Storage
	issuer  string
	folder  string // of the app's package
	front   *httptest.Server

	app  atomic.Pointer[functionshost.Host]
	past strings.Builder // logs of the machines that the app was on
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{T: t, storage: azure.StartStorage(t)}
	c.issuer = c.storage.CreateContainer(t, "documents", true) + "/" + clusterID
	c.storage.CreateContainer(t, "private", false)
	c.folder = functionshost.Build(t)
	c.front = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.app.Load().ServeHTTP(w, r) }))
	t.Cleanup(c.front.Close)
	t.Cleanup(func() {
		if app := c.app.Load(); app != nil {
			app.Stop()
		}
		if t.Failed() {
			t.Logf("the app's log ends:\n%s", tail(c.log()))
		}
	})
	return c
}

// enroll writes what a deploy adds to the package.
func (c *cloud) enroll(bootstrap *kube.Key) {
	c.Helper()
	key, err := jwks.New(bootstrap.Public())
	if err != nil {
		c.Fatal(err)
	}
	cluster := enrollment.Cluster{ID: clusterID, Generation: 1, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", BootstrapKeys: jwks.Set{key}}
	write(c.T, filepath.Join(c.folder, "clusters", clusterID+".yaml"), cluster.Encode())
	write(c.T, filepath.Join(c.folder, "publisher.yaml"), []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: acme
issuers: [{url: "`+c.issuer+`", path: `+clusterID+`, clusters: [`+clusterID+`], internal: true}]
clusters: {directory: clusters/}
`))
}

// deploy starts the app, on another machine if there is one already: the platform moves it as it likes.
func (c *cloud) deploy() {
	c.Helper()
	if before := c.app.Load(); before != nil {
		before.Stop()
		c.past.WriteString(before.Log())
		if err := os.Remove(filepath.Join(c.folder, "handler.log")); err != nil {
			c.Fatal(err)
		}
	}
	settings := map[string]string{
		"DOCUMENTS_BUCKET": c.storage.ContainerURL("documents"), "PRIVATE_BUCKET": c.storage.ContainerURL("private"),
		"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "131072", "AzureWebJobs.queue.Disabled": "true",
	}
	for _, variable := range c.storage.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		settings[name] = value
	}
	app, err := functionshost.Start(c.Context(), functionshost.Options{Package: c.folder, Settings: settings, Client: c.storage.HTTPClient()})
	if err != nil {
		c.Fatal(err)
	}
	c.app.Store(app)
}

// schedule is what the host does every five minutes.
func (c *cloud) schedule() {
	c.Helper()
	if err := c.app.Load().Tick(c.Context(), "reconcile"); err != nil {
		c.Fatal(err)
	}
}

// export runs the exporter of a cluster, with the token that the kubelet gives it.
func (c *cloud) export(cluster *kube.Cluster) *kube.ProjectedToken {
	c.Helper()
	folder := c.TempDir()
	binary, authority, settings := filepath.Join(folder, "cluster-exporter"), filepath.Join(folder, "ca.pem"), filepath.Join(folder, "exporter.yaml")
	build := exec.CommandContext(c.Context(), "go", "build", "-trimpath", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/cluster-exporter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		c.Fatalf("build the exporter: %v\n%s", err, output)
	}
	_, port, _ := strings.Cut(cluster.Endpoints()[0], ":")
	write(c.T, authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.front.Certificate().Raw}))
	write(c.T, settings, []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: `+clusterID+`
issuer: `+c.issuer+`
pollInterval: 1s
heartbeatInterval: 3s
caBundle: `+authority+`
apiServers: {addresses: ["127.0.0.1:`+port+`"]}
destinations: [{publisher: acme, webhook: {url: `+c.front.URL+`/v1/snapshots}}]
`))
	kubelet, log := cluster.Kubelet(c.T, 0, "kube-iam-assume", "cluster-exporter", 600), filepath.Join(folder, "exporter.log")
	running, err := process.Start(process.Program{
		Name: "cluster-exporter", Binary: binary, Log: log,
		Flags: []string{
			"--config", settings, "--listen", "127.0.0.1:0", "--api-server", "127.0.0.1:" + port, "--ca-file", cluster.CAFile, "--token-file", kubelet.File,
		},
	})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		running.Kill()
		if c.Failed() {
			c.Logf("the exporter's log ends:\n%s", process.Tail(log, 15))
		}
	})
	return kubelet
}

// log is everything the app wrote, on whatever machine.
func (c *cloud) log() string {
	log := c.past.String()
	if app := c.app.Load(); app != nil {
		log += app.Log()
	}
	return log
}

// said is whether one line of the log has all of these words.
func (c *cloud) said(words ...string) bool {
	for line := range strings.Lines(c.log()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
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
	response, err := c.storage.HTTPClient().Get(c.issuer + "/openid/v1/jwks")
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

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
