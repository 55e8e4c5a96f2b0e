package iam_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

// The proxy leads where it is told to, believing no more than the file of roots, and nowhere else.
func TestPlatform(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	platform := server.Platform(t)
	documents := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "documents") }))
	t.Cleanup(documents.Close)
	platform.Route("example.com", documents.Listener.Addr().String())
	platform.Trust(t, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: documents.Certificate().Raw}))
	client := clientIn(t, platform.Environment())
	for address, want := range map[string]string{
		"https://example.com/":                                 "200 documents",
		"https://iam.googleapis.com/v1/" + iam.Name("another"): "401 ", // nobody is logged in
		"https://storage.googleapis.com/":                      "Bad Gateway",
		"https://example.com:8443/":                            "Bad Gateway",
	} {
		var said string
		answer, err := client.Get(address)
		if err != nil {
			said = err.Error()
		} else {
			body, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			said = answer.Status[:4] + string(body)
		}
		if !strings.Contains(said, want) {
			t.Errorf("%s: %s; want %s", address, said, want)
		}
	}
}

func TestMetadataIsNotForEverybody(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	host := variable(t, server.Platform(t).Environment(), "GCE_METADATA_HOST")
	for flavor, want := range map[string]int{"": http.StatusForbidden, "Google": http.StatusOK} {
		r := httptest.NewRequest(http.MethodGet, "http://"+host+"/computeMetadata/v1/instance/service-accounts/default/token", nil)
		r.RequestURI = ""
		r.Header.Set("Metadata-Flavor", flavor)
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != want || strings.Contains(string(body), server.Token()) != (want == http.StatusOK) {
			t.Errorf("flavor %q: %d %s", flavor, answer.StatusCode, body)
		}
	}
}

// clientIn is what net/http would be in a program with this environment.
func clientIn(t *testing.T, environment []string) *http.Client {
	t.Helper()
	certificates, err := os.ReadFile(variable(t, environment, "SSL_CERT_FILE"))
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := url.Parse(variable(t, environment, "HTTPS_PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificates)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func variable(t *testing.T, environment []string, name string) string {
	t.Helper()
	for _, entry := range environment {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	t.Fatalf("%s is not in %q", name, environment)
	return ""
}
