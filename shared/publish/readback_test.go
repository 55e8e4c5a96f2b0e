package publish_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// Reconcile looks at the documents from outside, and says what a stranger would find.
func TestReadBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		serve    func(w http.ResponseWriter, stored []byte)
		external bool // the settings do not say that the issuer is internal
		private  bool // they say that nobody fetches the documents
		want     string
	}{
		"as stored": {serve: func(w http.ResponseWriter, stored []byte) { _, _ = w.Write(stored) }},
		"changed":   {serve: func(w http.ResponseWriter, stored []byte) { _, _ = w.Write(stored[1:]) }, want: "the URL does not serve what the bucket has"},
		"missing":   {serve: func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }, want: "404"},
		"redirected": {serve: func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", "https://elsewhere.example.com/")
			w.WriteHeader(http.StatusFound)
		}, want: "302"},
		"endless":                      {serve: func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(make([]byte, 200<<10)) }, want: "more than 131072 bytes"},
		"missing, which nobody misses": {serve: func(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusNotFound) }, private: true},
		"a private address":            {serve: func(w http.ResponseWriter, stored []byte) { _, _ = w.Write(stored) }, external: true, want: "set internal: true"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			documents, log := memory.New(memory.UniqueVersions), &bytes.Buffer{}
			web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				object, _, err := documents.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
				if err != nil {
					http.NotFound(w, r)
					return
				}
				test.serve(w, object.Body)
			}))
			defer web.Close()
			roots := x509.NewCertPool()
			roots.AddCert(web.Certificate())
			p, err := publish.New(publish.Config{
				Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
					URL: web.URL + "/prod", Path: "prod", Retention: 48 * time.Hour, Internal: !test.external, Private: test.private, Clusters: []enrollment.Cluster{{
						ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{snapshottest.NewKey().Key},
					}},
				}}},
				Documents: documents, Private: memory.New(memory.UniqueVersions), Logger: slog.New(slog.NewTextHandler(log, nil)), RootCAs: roots,
			})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // what was written just now is not read back
				if err := p.Reconcile(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if found := strings.Count(log.String(), "event=readback."); test.want == "" && found != 0 || test.want != "" && (found != 2 || !strings.Contains(log.String(), test.want)) {
				t.Errorf("%d findings, want %q:\n%s", found, test.want, log)
			}
			if err := p.Public(context.Background(), web.URL+"/prod"); test.want == "" && err != nil && !test.private ||
				test.want != "" && (!errors.Is(err, publish.ErrNotPublic) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("asked whether it is public: %v, want %q", err, test.want)
			}
		})
	}
}
