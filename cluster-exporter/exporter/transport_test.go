package exporter

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

// TestBundlesAreReadAgain: authorities are rotated while an exporter runs.
func TestBundlesAreReadAgain(t *testing.T) {
	t.Parallel()
	network, other := internet.New(t), internet.New(t)
	network.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }), "publisher.example.com")
	bundle := filepath.Join(t.TempDir(), "bundle.pem")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(bundle, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(other.Authority)
	client, err := newClient(Settings{Proxy: network.Proxy}, "", bundle)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"another authority", func() {}, "unknown authority"},
		{"the right one", func() { write(network.Authority) }, "hello"},
		{"the same", func() {}, "hello"},
		{"both", func() { write(append(other.Authority, network.Authority...)) }, "hello"},
		{"not a bundle", func() { write([]byte("half a certif")) }, "hello"},
		{"no file", func() { _ = os.Remove(bundle) }, "hello"},
		{"the other alone", func() { write(other.Authority) }, "unknown authority"}, // no connection of before is left
	} {
		step.change()
		if got := get(client, "https://publisher.example.com/"); !strings.Contains(got, step.want) {
			t.Errorf("%s: got %q, want %q", step.name, got, step.want)
		}
	}
}

// TestClientIsCareful: what is sent goes nowhere else, and no answer is endless.
func TestClientIsCareful(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("a", 2*maxAnswer))
	}))
	t.Cleanup(server.Close)
	client, err := newClient(Settings{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	_ = get(client, server.URL+"/redirect")
	if got := get(client, server.URL+"/endless"); len(got) != maxAnswer+1 {
		t.Errorf("%d bytes were read", len(got))
	}
}

func get(client *http.Client, url string) string {
	response, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}
