package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

const storageHost = "storage.googleapis.com"

// As it is deployed: the hosts are Google's, the login is the platform's, the issuer is in the bucket, and a Workload Identity provider
// has the keys before the world has.
func TestOnThePlatform(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	issuer := "https://" + storageHost + "/" + documents + "/prod"
	google := iam.Start(t)
	provider := google.CreateProvider(t, "prod", issuer)
	platform := google.Platform(t)
	certificate, authority := selfSigned(t, storageHost)
	platform.Trust(t, authority)
	platform.Route(storageHost, c.storageAPI(certificate, google.Token()))
	c.exporter = snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: "a/b"}.NewExporter("p")
	c.write("publisher.yaml", `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "`+issuer+`", path: prod, clusters: [prod], workloadIdentityProvider: "`+provider+`"}]
clusters: {directory: clusters/}
`)
	c.env = append(platform.Environment(), "DOCUMENTS_BUCKET="+documents, "PRIVATE_BUCKET="+private, "LOCAL_ONLY=true", "K_SERVICE=publisher")

	reconcile := c.start("Reconcile")
	if status, body := reconcile.post("/", nil, nil); status != http.StatusOK || !strings.Contains(c.published(), c.key.ID()) || !strings.Contains(google.Keys(provider), c.key.ID()) {
		t.Fatalf("the first reconcile: %d %s\n%v", status, body, reconcile.log("target.failed"))
	}
	if len(reconcile.log("target.written")) != 1 {
		t.Error("the log does not say that the provider has the keys")
	}
	second := snapshottest.NewKey()
	webhook := c.start("Webhook")
	if status, body := webhook.post("/v1/snapshots", nil, c.snapshot(c.key, second)); status != http.StatusOK || !strings.Contains(google.Keys(provider), second.ID()) {
		t.Errorf("a snapshot with a new key: %d %s", status, body)
	}
	google.Grant() // nothing
	if status, body := webhook.post("/v1/snapshots", nil, c.snapshot(c.key, second, snapshottest.NewKey())); status != http.StatusServiceUnavailable {
		t.Errorf("without the right to keep the provider: %d %s", status, body)
	}
	if lines := webhook.log("target.failed"); len(lines) == 0 || !strings.Contains(lines[0].Detail, "iam.workloadIdentityPoolProviders") {
		t.Errorf("what the log says: %v", lines)
	}
}

// storageAPI is the server of Cloud Storage under its own name, for whom it knows. Strangers only read.
func (c *cloud) storageAPI(certificate tls.Certificate, token string) string {
	c.Helper()
	storage, err := url.Parse(c.storage.Endpoint)
	if err != nil {
		c.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(storage) }}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stranger := r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/"+documents+"/")
		if !stranger && r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "Anonymous caller", http.StatusUnauthorized)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	c.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func selfSigned(t *testing.T, host string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
