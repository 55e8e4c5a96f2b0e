package publish_test

import (
	"bytes"
	"context"
	"crypto/x509"
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
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// pair is a primary and a mirror of one issuer, each with its own buckets, both served by one host below /primary and /mirror.
type pair struct {
	*testing.T
	web       *httptest.Server
	down      bool // the mirror
	key       snapshottest.Key
	algorithm string // of the mirror's discovery document
	buckets   map[string]*memory.Bucket
	exporter  *snapshottest.Exporter
	log       bytes.Buffer
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{T: t, key: snapshottest.NewKey(), algorithm: "ES256", buckets: map[string]*memory.Bucket{
		"primary": memory.New(memory.UniqueVersions), "mirror": memory.New(memory.UniqueVersions),
	}}
	p.web = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, "/")
		host, _, _ := strings.Cut(name, "/")
		object, _, err := p.buckets[host].Get(r.Context(), name)
		if err != nil || p.down && host == "mirror" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(object.Body)
	}))
	t.Cleanup(p.web.Close)
	p.exporter = snapshottest.Cluster{ID: "prod", Issuer: p.web.URL + "/primary", ServiceAccount: "a/b"}.NewExporter("primary")
	return p
}

func (p *pair) publisher(name string) *publish.Publisher {
	p.Helper()
	issuer := enrollment.Issuer{
		URL: p.web.URL + "/primary", Path: name, Retention: 48 * time.Hour, Internal: true, Algorithms: []string{"ES256"},
		Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{p.key.Key}}},
	}
	if name == "primary" {
		issuer.Mirrors = []string{p.web.URL + "/mirror"}
	} else {
		issuer.ServedAt, issuer.Algorithms = p.web.URL+"/mirror", []string{p.algorithm}
	}
	roots := x509.NewCertPool()
	roots.AddCert(p.web.Certificate())
	made, err := publish.New(publish.Config{
		Settings: enrollment.Publisher{Name: "primary", Issuers: []enrollment.Issuer{issuer}}, RootCAs: roots,
		Documents: p.buckets[name], Private: memory.New(memory.UniqueVersions), Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
	})
	if err != nil {
		p.Fatal(err)
	}
	return made
}

// Each publisher says when the other's documents differ, whichever of them is right.
func TestMirror(t *testing.T) {
	t.Parallel()
	next := snapshottest.NewKey()
	announce := func(p *pair, to *publish.Publisher) error {
		_, err := to.Operate(t.Context(), rotation.Statement{
			Issuer: p.web.URL + "/primary", Cluster: "prod", Action: rotation.Announce, Keys: jwks.Set{next.Key}, Reason: "test",
		})
		return err
	}
	for name, test := range map[string]struct {
		upset  func(p *pair, primary, mirror *publish.Publisher) error
		before func(p *pair)
		want   string // in two lines, one of each publisher
		once   bool   // only the primary can see it
	}{
		"the same": {},
		"the same keys with other histories": {upset: func(p *pair, primary, mirror *publish.Publisher) error {
			if err := announce(p, mirror); err != nil { // there it is announced, and there current
				return err
			}
			_, err := primary.Accept(t.Context(), p.exporter.Send(time.Now(), []snapshottest.Key{p.key, next}, p.key))
			return err
		}},
		"a key more here":   {upset: func(p *pair, primary, _ *publish.Publisher) error { return announce(p, primary) }, want: "mirror.differs"},
		"a key more there":  {upset: func(p *pair, _, mirror *publish.Publisher) error { return announce(p, mirror) }, want: "mirror.differs"},
		"another discovery": {before: func(p *pair) { p.algorithm = "RS256" }, want: "its discovery document is another"},
		"not there":         {upset: func(p *pair, _, _ *publish.Publisher) error { p.down = true; return nil }, want: "mirror.failed", once: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			if test.before != nil {
				test.before(p)
			}
			primary, mirror := p.publisher("primary"), p.publisher("mirror")
			both := func() {
				for _, each := range []*publish.Publisher{primary, mirror} {
					if err := each.Reconcile(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
			}
			both()
			if test.upset != nil {
				if err := test.upset(p, primary, mirror); err != nil {
					t.Fatal(err)
				}
			}
			p.log.Reset()
			both()
			want := 2
			switch {
			case test.want == "":
				want = 0
			case test.once:
				want = 1
			}
			said := p.log.String()
			if got := strings.Count(said, "event=mirror."); got != want || strings.Count(said, test.want) < want || !test.once && strings.Contains(said, "event=readback.") {
				t.Errorf("%d findings, want %d with %q:\n%s", got, want, test.want, said)
			}
		})
	}
}
