package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var cluster = snapshottest.Cluster{ID: "prod", Issuer: "https://127.0.0.1:1/clusters/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}

func start(t *testing.T, data string, key snapshottest.Key) *httptest.Server {
	t.Helper()
	settings := enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
		URL: cluster.Issuer, Path: "elsewhere", Retention: 48 * time.Hour, Internal: true,
		Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: jwks.Set{key.Key}}},
	}}}
	documents, private, err := openData(data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: private})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(newSite(p, documents, settings))
	t.Cleanup(server.Close)
	return server
}

// reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

func do(t *testing.T, server *httptest.Server, method, path, etag string, body []byte) reply {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if etag != "" {
		request.Header.Set("If-None-Match", etag)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, response.Header, string(data)}
}

func TestSite(t *testing.T) {
	const keys = "/clusters/prod/openid/v1/jwks"
	data, a, b := t.TempDir(), snapshottest.NewKey(), snapshottest.NewKey()
	server := start(t, data, a)
	r := do(t, server, "GET", keys, "", nil)
	etag := r.header.Get("ETag")
	if r.status != http.StatusOK || !strings.Contains(r.body, a.ID()) || etag == "" ||
		r.header.Get("Content-Type") != "application/json" || r.header.Get("Cache-Control") != "public, max-age=60, must-revalidate" {
		t.Fatalf("%+v", r)
	}
	for _, test := range []struct {
		method, path, etag string
		want               int
	}{
		{"HEAD", keys, "", 200},
		{"GET", keys, etag, 304},
		{"GET", keys, `"other"`, 200},
		{"GET", "/clusters/prod/.well-known/openid-configuration", "", 200},
		{"POST", keys, "", 405},
		{"GET", "/healthz", "", 200},
		{"GET", "/v1/snapshots", "", 405},
		{"GET", "/", "", 404},
		{"GET", "/elsewhere/openid/v1/jwks", "", 404},
		{"GET", "/clusters/../private/state", "", 404},
		{"GET", keys + "/", "", 404},
		{"POST", "/v1/snapshots", "", 400},
	} {
		r := do(t, server, test.method, test.path, test.etag, nil)
		if r.status != test.want || (test.method == "HEAD" || test.want == http.StatusNotModified) && r.body != "" {
			t.Errorf("%s %s: %+v, want %d", test.method, test.path, r, test.want)
		}
	}
	e := cluster.NewExporter("p")
	if r := do(t, server, "POST", "/v1/snapshots", "", e.Send(time.Now(), []snapshottest.Key{a, b}, a)); r.status != http.StatusOK {
		t.Fatalf("%+v", r)
	}
	if r := do(t, server, "GET", keys, etag, nil); r.status != http.StatusOK || r.header.Get("ETag") == etag {
		t.Errorf("after a change: %+v", r)
	}
	again := start(t, data, a) // the state survives a restart
	if r := do(t, again, "GET", keys, "", nil); !strings.Contains(r.body, b.ID()) {
		t.Error("the restarted publisher forgot a key")
	}
}

func TestCertificateIsReloaded(t *testing.T) {
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	write := func(serial int64) {
		t.Helper()
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
			if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(1)
	c, err := loadCertificate(cert, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.checked = time.Time{}
		current, err := c.get(&tls.ClientHelloInfo{})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(current.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	write(2)
	if got := serial(); got != 2 {
		t.Errorf("serial number %d after a renewal, want 2", got)
	}
	if err := os.WriteFile(cert, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("serial number %d while the files are broken, want the old 2", got)
	}
	write(3)
	if got := serial(); got != 3 {
		t.Errorf("serial number %d after the repair, want 3", got)
	}
}
