package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"kube-iam-assume": func() { os.Exit(run()) }})
}

// Each script runs with a publisher that has accepted a snapshot, and a stand-in of an API server:
//
//	$ISSUER, $AUDIENCE   of tokens in good.jwt, expired.jwt and stranger.jwt
//	publisher.yaml, data the publisher's settings and directory
//	ca.pem               the authority of everything
//	kubeconfig           of the stand-in
//	snapshot.jws, $KEY   a snapshot, and the ID of the key in it
//	new.pem, $NEW        a public key, and its ID
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata", Setup: func(env *testscript.Env) error {
		s := &scene{Env: env, key: snapshottest.NewRSAKey(), next: snapshottest.NewRSAKey()}
		return s.make()
	}})
}

// Scripts that use this tool tell by the code whether they called it wrongly.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]int{
		"":                             0,
		"version":                      0,
		"frobnicate":                   exitUsage,
		"--frobnicate":                 exitUsage,
		"operate frobnicate":           exitUsage,
		"operate revoke":               exitUsage,
		"operate revoke --frobnicate":  exitUsage,
		"verify":                       exitUsage,
		"verify token.jwt":             exitUsage, // flags are missing
		"inspect /nowhere/at/all.json": exitFailed,
	} {
		root := rootCommand()
		root.SetArgs(strings.Fields(line))
		root.SetOut(io.Discard)
		if err := root.ExecuteContext(t.Context()); exitCode(err) != want {
			t.Errorf("%q: exit code %d (%v), want %d", line, exitCode(err), err, want)
		}
	}
}

const account = "kube-iam-assume/cluster-exporter"

type scene struct {
	*testscript.Env
	key, next snapshottest.Key
	issuer    string
}

func (s *scene) make() error {
	documents, private, err := openBoth(filepath.Join(s.WorkDir, "data"))
	if err != nil {
		return err
	}
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		object, _, err := documents.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", object.ContentType)
		w.Header().Set("Cache-Control", object.CacheControl)
		_, _ = w.Write(object.Body)
	}))
	s.Defer(web.Close)
	s.issuer = web.URL + "/prod"
	settings := enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
		URL: s.issuer, Path: "prod", Retention: 48 * time.Hour, Internal: true,
		Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: account, BootstrapKeys: jwks.Set{s.key.Key}}},
	}}}
	p, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: private})
	if err != nil {
		return err
	}
	cluster := snapshottest.Cluster{ID: "prod", Issuer: s.issuer, ServiceAccount: account}
	envelope := cluster.NewExporter("p").Send(time.Now(), []snapshottest.Key{s.key}, s.key)
	if _, err := p.Accept(context.Background(), envelope); err != nil {
		return err
	}
	if err := s.startStandIn(); err != nil {
		return err
	}
	s.Setenv("ISSUER", s.issuer)
	s.Setenv("AUDIENCE", "sts.example.com")
	s.Setenv("KEY", s.key.ID())
	s.Setenv("NEW", s.next.ID())
	return s.files(web, settings, string(envelope))
}

func (s *scene) startStandIn() error {
	key, err := standin.NewKey(s.key.Private)
	if err != nil {
		return err
	}
	cluster, err := standin.Start(standin.Options{Issuer: s.issuer, Sign: key})
	if err != nil {
		return err
	}
	s.Defer(cluster.Close)
	if err := s.write("cluster-ca.pem", string(cluster.CA)); err != nil {
		return err
	}
	server := cluster.Servers[0]
	token, err := server.Token("kube-iam-assume", "cluster-exporter", nil, 3600)
	if err != nil {
		return err
	}
	return s.write("kubeconfig", `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://`+server.Address()+`", certificate-authority: cluster-ca.pem}}]
users: [{name: u, user: {token: "`+token+`"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`)
}

func (s *scene) files(web *httptest.Server, settings enrollment.Publisher, envelope string) error {
	now := time.Now()
	token := func(by snapshottest.Key, at time.Time) string {
		return snapshottest.Token(by, map[string]any{
			"iss": s.issuer, "sub": "system:serviceaccount:app:payments", "aud": []string{"sts.example.com"}, "iat": at.Unix(), "nbf": at.Unix(), "exp": at.Add(time.Hour).Unix(),
		})
	}
	public, err := x509.MarshalPKIXPublicKey(s.next.Public())
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(s.next.Private)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		"good.jwt": token(s.key, now), "expired.jwt": token(s.key, now.Add(-2*time.Hour)), "stranger.jwt": token(s.next, now),
		"snapshot.jws": envelope,
		"ca.pem":       block("CERTIFICATE", web.Certificate().Raw),
		"new.pem":      block("PUBLIC KEY", public), "private.pem": block("PRIVATE KEY", private),
		"publisher.yaml":     "apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publisher\nname: p\nissuers: [{url: " + s.issuer + ", clusters: [prod], internal: true}]\nclusters: {directory: clusters}\n",
		"clusters/prod.yaml": string(settings.Issuers[0].Clusters[0].Encode()),
	} {
		if err := s.write(name, content); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) write(name, content string) error {
	file := filepath.Join(s.WorkDir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(content), 0o600)
}

func openBoth(data string) (documents, private *dir.Bucket, err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, nil, err
	}
	if documents, err = dir.Open(filepath.Join(data, "documents")); err != nil {
		return nil, nil, err
	}
	private, err = dir.Open(filepath.Join(data, "private"))
	return documents, private, err
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
