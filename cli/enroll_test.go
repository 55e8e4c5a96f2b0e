package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
)

// Behind a balancer one connection shows one API server: enroll needs several.
func TestEnrollReadsOverFreshConnections(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/openid/v1/jwks" {
			_, _ = w.Write([]byte(`{"keys":[]}`))
			return
		}
		_, _ = w.Write([]byte(`{"issuer":"https://oidc.example.com"}`))
	}))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	e := enroller{config: &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, report: &command.Report{}}
	if _, _, err := e.readAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := connections.Load(); n < 5 {
		t.Errorf("%d connections, want one for each of several readings", n)
	}
}
