package internet_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

// A name leads to who serves it, with a certificate that holds, and any other name to nobody.
func TestNames(t *testing.T) {
	t.Parallel()
	n := internet.New(t)
	stop := n.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "this is "+r.Host)
	}), "one.example.com", "two.example.com")
	other := internet.New(t)
	other.Lead("one.example.com", "127.0.0.1:1")
	for url, want := range map[string]string{"https://one.example.com/": "this is one.example.com", "https://two.example.com/": "this is two.example.com"} {
		if got := get(t, n, url); got != want {
			t.Errorf("%s: got %q", url, got)
		}
	}
	for name, of := range map[string]*internet.Internet{"https://three.example.com/": n, "https://one.example.com/": other, "http://one.example.com/": n} {
		if got := get(t, of, name); strings.HasPrefix(got, "this is") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if n.Asked("one.example.com") != 1 || n.Asked("three.example.com") != 1 {
		t.Errorf("asked %d and %d times", n.Asked("one.example.com"), n.Asked("three.example.com"))
	}
	stop()
	if got := get(t, n, "https://two.example.com/"); strings.HasPrefix(got, "this is") {
		t.Errorf("after its end: %q", got)
	}
}

func get(t *testing.T, n *internet.Internet, url string) string {
	t.Helper()
	response, err := n.Client().Get(url)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
