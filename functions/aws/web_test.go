package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func TestWeb(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(`{"reconcile": true}`)
	text := web(http.MethodPost, "/v1/snapshots", r.snapshot(r.key))
	bytes := encoded(web(http.MethodPost, "/v1/snapshots", r.snapshot(r.key)))
	notBase64 := web(http.MethodPost, "/v1/snapshots", "~~~")
	notBase64.IsBase64Encoded = true
	large := strings.Repeat("x", snapshot.MaxBytes+1)
	huge := strings.Repeat("x", 5<<20)
	for _, test := range []struct {
		name  string
		event any
		want  int
		code  string
	}{
		{name: "as text", event: text, want: http.StatusOK},
		{name: "as base64", event: bytes, want: http.StatusOK},
		{name: "again", event: text, want: http.StatusConflict, code: "superseded"},
		{name: "bad base64", event: notBase64, want: http.StatusBadRequest, code: "malformed"},
		{name: "too large", event: web(http.MethodPost, "/v1/snapshots", large), want: http.StatusRequestEntityTooLarge, code: "too-large"},
		{name: "too large in base64", event: encoded(web(http.MethodPost, "/v1/snapshots", large)), want: http.StatusRequestEntityTooLarge, code: "too-large"},
		{name: "huge", event: web(http.MethodPost, "/v1/snapshots", huge), want: http.StatusRequestEntityTooLarge, code: "too-large"},
		{name: "empty", event: web(http.MethodPost, "/v1/snapshots", ""), want: http.StatusBadRequest, code: "malformed"},
		{name: "healthz", event: web(http.MethodGet, "/healthz", ""), want: http.StatusOK},
		{name: "head of healthz", event: web(http.MethodHead, "/healthz", ""), want: http.StatusOK},
		{name: "another path", event: web(http.MethodGet, "/", ""), want: http.StatusNotFound},
		{name: "no path", event: web(http.MethodGet, "", ""), want: http.StatusTemporaryRedirect},
		{name: "another method", event: web(http.MethodGet, "/v1/snapshots", ""), want: http.StatusMethodNotAllowed},
		{name: "an encoded path", event: web(http.MethodGet, "/%68ealthz", ""), want: http.StatusNotFound},
	} {
		answer := r.must(test.event)
		body, _ := answer["body"].(string)
		if answer["statusCode"] != float64(test.want) || answer["isBase64Encoded"] != false {
			t.Errorf("%s: %v, want %d", test.name, answer, test.want)
		}
		var problem struct{ Code string }
		if _ = json.Unmarshal([]byte(body), &problem); problem.Code != test.code {
			t.Errorf("%s: the code %q, want %q", test.name, problem.Code, test.code)
		}
		if (body == "") != (test.name == "head of healthz") {
			t.Errorf("%s: the body %q", test.name, body)
		}
		headers, _ := answer["headers"].(map[string]any)
		if headers["Content-Type"] == nil {
			t.Errorf("%s: no content type in %v", test.name, headers)
		}
	}
}

// A response that is not text travels as base64, and what the handler sees is the request.
func TestWebConverts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.door = http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.RemoteAddr != "192.0.2.1:0" || request.Host != "api.example.com" || request.URL.Path != "/a b" || request.URL.Query().Get("q") != "1" ||
			request.Header.Get("Content-Type") != "application/jose" {
			t.Errorf("%s %s %s %v", request.RemoteAddr, request.Host, request.URL, request.Header)
		}
		w.Header().Add("Vary", "A")
		w.Header().Add("Vary", "B")
		_, _ = w.Write([]byte{0xff, 0xfe})
		w.WriteHeader(http.StatusTeapot) // too late
	})
	event := web(http.MethodGet, "/a b", "")
	event.RawQueryString = "q=1"
	answer := r.must(event)
	headers, _ := answer["headers"].(map[string]any)
	if answer["statusCode"] != 200.0 || answer["body"] != "//4=" || answer["isBase64Encoded"] != true || headers["Vary"] != "A, B" {
		t.Errorf("%v", answer)
	}
}
