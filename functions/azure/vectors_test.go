package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is a request of the Functions host, word for word, and what it must be answered. In it, ENVELOPE stands for a good snapshot,
// BASE64 for the same in base64, and "*" in an answer for whatever is there.
type vector struct {
	About   string            `json:"about"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"`
	Body    json.RawMessage   `json:"body"`
	Status  int               `json:"status"`
	Answer  any               `json:"answer"`
	Event   string            `json:"event"` // in the log
}

func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d vectors, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.reconciled()
			envelope := r.snapshot(r.key)
			content := strings.ReplaceAll(string(must(os.ReadFile(file))), "ENVELOPE", envelope)
			content = strings.ReplaceAll(content, "BASE64", base64.StdEncoding.EncodeToString([]byte(envelope)))
			var v vector
			decoder := json.NewDecoder(strings.NewReader(content))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&v); err != nil {
				t.Fatal(err)
			}
			request := httptest.NewRequestWithContext(t.Context(), v.Method, "http://127.0.0.1"+v.Path, strings.NewReader(string(v.Body)))
			for name, value := range v.Headers {
				request.Header.Set(name, value)
			}
			status, answer := r.send(request)
			var got any
			if err := json.Unmarshal([]byte(answer), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(v.Answer, pardon(got, v.Answer)); diff != "" || status != v.Status {
				t.Errorf("%s: %d, want %d:\n%s", v.About, status, v.Status, diff)
			}
			if v.Event != "" && !r.saw(v.Event) {
				t.Errorf("%s: the log has no %s:\n%s", v.About, v.Event, r.log)
			}
		})
	}
}

// pardon puts "*" where it is wanted.
func pardon(got, want any) any {
	if want == "*" {
		return want
	}
	g, isObject := got.(map[string]any)
	w, wanted := want.(map[string]any)
	if !isObject || !wanted {
		return got
	}
	result := map[string]any{}
	for name, value := range g {
		result[name] = pardon(value, w[name])
	}
	return result
}
