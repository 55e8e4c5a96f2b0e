package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// What is no invocation fails and does nothing. The host keeps a message that fails, beside the queue, for a person to see.
func TestRefusedInvocations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconciled()
	const timer = `{"Data": {"timer": {}}}`
	for name, test := range map[string]struct {
		method, path, body string
		want               int
	}{
		"no function":               {"POST", "/", timer, 404},
		"another function":          {"POST", "/deploy", timer, 404},
		"another case":              {"POST", "/Reconcile", timer, 404},
		"a path below":              {"POST", "/reconcile/", timer, 404},
		"two slashes":               {"POST", "//reconcile", timer, 404},
		"a route of the web":        {"POST", "/v1/snapshots", timer, 404},
		"another method":            {"GET", "/reconcile", "", 404},
		"put":                       {"PUT", "/reconcile", timer, 404},
		"nothing":                   {"POST", "/reconcile", "", 500},
		"no object":                 {"POST", "/reconcile", "[]", 500},
		"no JSON":                   {"POST", "/reconcile", `{"Data": {"timer": {}`, 500},
		"two objects":               {"POST", "/reconcile", timer + timer, 500},
		"no data":                   {"POST", "/reconcile", `{}`, 500},
		"a member twice":            {"POST", "/reconcile", `{"Data": {"timer": {}}, "Data": {"timer": {}}}`, 500},
		"another binding":           {"POST", "/reconcile", `{"Data": {"message": "x"}}`, 500},
		"a queue without message":   {"POST", "/queue", timer, 500},
		"the web without request":   {"POST", "/snapshots", timer, 500},
		"a request that is text":    {"POST", "/snapshots", `{"Data": {"req": "POST"}}`, 500},
		"a request of no method":    {"POST", "/snapshots", `{"Data": {"req": {"Method": "G T"}}}`, 500},
		"a header that is a number": {"POST", "/snapshots", `{"Data": {"req": {"Method": "POST", "Headers": {"A": 1}}}}`, 500},
	} {
		r.untouched(name, func() {
			status, _ := r.send(httptest.NewRequestWithContext(t.Context(), test.method, "http://127.0.0.1"+test.path, strings.NewReader(test.body)))
			if status != test.want {
				t.Errorf("%s: %d, want %d", name, status, test.want)
			}
		})
	}
	if !r.saw("event.refused") || !r.saw("invocation.failed") {
		t.Error(r.log)
	}
}

// Whoever calls the webhook writes what he likes where he can, and it stays a snapshot that is judged.
func TestForgery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconciled()
	for _, forged := range []string{
		`{"Data": {"timer": {}}}`, `{"Data": {"message": "x"}, "Metadata": {}}`, `/queue`, `../queue`,
		`{"statement": {"issuer": "` + issuer + `", "cluster": "prod", "action": "remove", "reason": "mine"}}`,
	} {
		body, err := json.Marshal(map[string]any{
			"Data": map[string]any{"req": map[string]any{
				"Url": "https://app.example.com/queue", "Method": "POST", "Query": map[string]any{"timer": forged}, "Body": forged,
				"Headers": map[string]any{"X-Azure-Functions-Invocationid": []string{forged}, "X-Original-Url": []string{"/queue"}, "X-Http-Method-Override": []string{"GET"}},
				"Params":  map[string]any{"functionName": "queue"},
			}, "timer": map[string]any{}, "message": forged},
			"Metadata": map[string]any{"timer": map[string]any{}, "message": forged, "statement": forged, "sys": map[string]any{"MethodName": "queue"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		r.untouched(forged, func() {
			if status, answer := r.post("/snapshots", string(body)); status != http.StatusOK || !strings.Contains(answer, `"statusCode":"400"`) {
				t.Errorf("%s: %d %s", forged, status, answer)
			}
		})
	}
}

// A snapshot comes by each door, and the same is judged the same.
func TestDoors(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(*rig, string) bool{
		"web": func(r *rig, envelope string) bool {
			return r.web("snapshots", nil, envelope).StatusCode == http.StatusOK
		},
		"queue": func(r *rig, envelope string) bool { return r.message(envelope) == http.StatusOK },
	} {
		r := newRig(t)
		r.reconciled()
		next := snapshottest.NewKey()
		if !send(r, r.snapshot(r.key, next)) || !r.publishes(next) {
			t.Errorf("%s: the new key is not published\n%s", name, r.log)
		}
	}
}

// What may succeed later comes back: the queue's message by a failed invocation, the webhook's by an answer that says so.
func TestStoresThatAreDown(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconciled()
	r.broken = errStore
	if status := r.message(r.snapshot(r.key)); status != http.StatusInternalServerError || !r.saw("queue.returned") {
		t.Errorf("the queue: %d\n%s", status, r.log)
	}
	if answer := r.web("snapshots", nil, r.snapshot(r.key)); answer.StatusCode != http.StatusServiceUnavailable || answer.Headers["Retry-After"] == "" {
		t.Errorf("the webhook: %+v", answer)
	}
	if status, _ := r.post("/reconcile", `{"Data": {"timer": {}}}`); status != http.StatusInternalServerError {
		t.Errorf("the timer: %d", status)
	}
	if status := r.message("poison"); status != http.StatusOK {
		t.Errorf("poison: %d", status)
	}
}

// What is too large is refused, read to its end, and forgotten.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.reconciled()
	large := strings.Repeat("x", snapshot.MaxBytes+1)
	huge := strings.Repeat("x", maxInvocation)
	r.untouched("too large", func() {
		for _, body := range []string{large, huge} {
			if answer := r.web("snapshots", nil, body); answer.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(answer.Body, `"code":"too-large"`) {
				t.Errorf("%d bytes to the webhook: %+v", len(body), answer)
			}
			if status := r.message(body); status != http.StatusOK {
				t.Errorf("%d bytes in the queue: %d", len(body), status)
			}
		}
	})
	rest := strings.NewReader(huge + huge)
	r.send(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/reconcile", rest))
	if rest.Len() > 0 {
		t.Errorf("%d bytes were not read: the host would still be sending", rest.Len())
	}
	worst := strings.Repeat("\x01", 64<<10)
	if encoded := must(json.Marshal(string(must(json.Marshal(worst))))); 2*len(encoded) > maxInvocation {
		t.Errorf("the largest message has %d bytes", 2*len(encoded))
	}
}

// An app that can't work fails whatever it is asked, and is there to say why.
func TestUnusable(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.publisher, r.door, r.unusable = nil, nil, errStore
	for path, body := range map[string]string{
		"/queue": `{"Data": {"message": "x"}}`, "/reconcile": `{"Data": {"timer": {}}}`, "/healthz": `{"Data": {"req": {"Method": "GET"}}}`,
		"/snapshots": `{"Data": {"req": {"Method": "POST"}}}`, "/operate": `{"Data": {"req": {"Method": "POST"}}}`,
	} {
		if status, _ := r.post(path, body); status != http.StatusInternalServerError {
			t.Errorf("%s: %d", path, status)
		}
	}
	if !strings.Contains(r.log.String(), errStore.Error()) {
		t.Error(r.log)
	}
}

// Lines of the log name the invocation, and an ID that is none is not repeated.
func TestInvocationInLog(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.message("poison")
	if !strings.Contains(r.log.String(), `"instance":"m1"`) || !strings.Contains(r.log.String(), `"invocation":"0e6a2d1c-5f0b-4f0e-9a57-6f1f2f3f4f5f"`) {
		t.Error(r.log)
	}
	for id, want := range map[string]string{"5f1c": "5f1c", "a\nb": "", "é": "", strings.Repeat("x", 65): "", "": ""} {
		if got := printable(id); got != want {
			t.Errorf("printable(%q) = %q", id, got)
		}
	}
}

// A header has all its values, however they are told.
func TestRequest(t *testing.T) {
	t.Parallel()
	received := must(parse([]byte(`{"Data": {"req": {"Url": "https://a/b?c", "Method": "POST", "Headers": {"x-a": ["1", "2"], "X-B": "\"3\"", "X-C": []}, "Body": {"a": 1}, "New": 1}}}`)))
	request := must(requestOf(t.Context(), received, "/v1/operate"))
	body, _ := io.ReadAll(request.Body)
	if request.URL.String() != "/v1/operate" || !slices.Equal(request.Header.Values("X-A"), []string{"1", "2"}) || request.Header.Get("X-B") != `"3"` || string(body) != `{"a": 1}` {
		t.Errorf("%s %v %s", request.URL, request.Header, body)
	}
}

// Whatever comes, reading it ends in a value or an error.
func FuzzInvocation(f *testing.F) {
	f.Add(`{"Data": {"message": "\"a.b.c\""}, "Metadata": {"Id": "\"x\""}}`)
	f.Add(`{"Data": {"message": {"a": 1}}}`)
	f.Add(`{"Data": {"req": {"Method": "POST", "Headers": {"Content-Type": ["application/octet-stream"]}, "Body": "YWJj"}}}`)
	f.Add(`{"Data": {"req": {"Method": "GET", "Headers": {"a": "b"}, "Body": null}}}`)
	f.Fuzz(func(t *testing.T, payload string) {
		received, err := parse([]byte(payload))
		if err != nil {
			return
		}
		if value, err := received.value("message"); err == nil {
			_ = envelopeOf(value)
		}
		if request, err := requestOf(t.Context(), received, "/v1/snapshots"); err == nil && request.URL.Path != "/v1/snapshots" {
			t.Errorf("the path is %q", request.URL.Path)
		}
	})
}

// What was encoded is found, once or twice, and a snapshot is one whichever way it was put.
func FuzzText(f *testing.F) {
	f.Add("a.b.c")
	f.Add(`"a"`)
	f.Add(`{"a": 1}`)
	f.Fuzz(func(t *testing.T, said string) {
		once := must(json.Marshal(said))
		twice := must(json.Marshal(string(once)))
		var kept string // as JSON can have it
		if err := json.Unmarshal(once, &kept); err != nil {
			t.Fatal(err)
		}
		if got := text(jsontext.Value(twice)); got != kept {
			t.Errorf("%q, encoded twice, is %q", said, got)
		}
		if inner := ""; json.Unmarshal([]byte(kept), &inner) == nil {
			return // it looks as if it were encoded
		}
		if got := text(jsontext.Value(once)); got != kept {
			t.Errorf("%q, encoded once, is %q", said, got)
		}
	})
}
