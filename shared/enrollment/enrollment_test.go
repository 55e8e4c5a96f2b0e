package enrollment_test

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

var keys = map[string]string{"KEY_A": newKey(), "KEY_B": newKey(), "PRIVATE": `{"kty":"RSA","kid":"x","n":"AQAB","e":"AQAB","d":"AQAB"}`}

func newKey() string {
	private := must(rsa.GenerateKey(rand.Reader, 2048))
	return string(must(must(jwks.New(&private.PublicKey)).MarshalJSON()))
}

// Each case is a folder of files in testdata/*.txtar with the names of keys for keys. Its comment is what the error must say, line by
// line, or nothing if the files are good.
func TestLoad(t *testing.T) {
	files := must(filepath.Glob("testdata/*.txtar"))
	if len(files) < 20 {
		t.Fatalf("only %d cases", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive := must(txtar.ParseFile(file))
			folder := fstest.MapFS{}
			for _, f := range archive.Files {
				text := string(f.Data)
				for name, key := range keys {
					text = strings.ReplaceAll(text, name, key)
				}
				folder[f.Name] = &fstest.MapFile{Data: []byte(text)}
			}
			_, err := enrollment.LoadFS(folder, "publisher.yaml")
			compare(t, string(archive.Comment), err)
		})
	}
}

func compare(t *testing.T, comment string, err error) {
	t.Helper()
	if strings.TrimSpace(comment) == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	if !errors.Is(err, settings.ErrInvalid) {
		t.Fatalf("got %v, want settings.ErrInvalid", err)
	}
	for want := range strings.SplitSeq(strings.TrimSpace(comment), "\n") {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error %q does not say %q", err, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	p := must(enrollment.LoadFS(fstest.MapFS{
		"publisher.yaml":     file("kind: Publisher\nname: prod\nissuers: [{url: https://oidc.example.com/prod, clusters: [prod]}]\nclusters: {directory: clusters}\n"),
		"clusters/prod.yaml": file("kind: Cluster\nid: prod\nexporterServiceAccount: a/b\nbootstrapKeys: {keys: [" + keys["KEY_A"] + "]}\n"),
	}, "publisher.yaml"))
	if issuer := p.Issuers[0]; issuer.Path != "prod" || issuer.Retention != 48*time.Hour || issuer.Clusters[0].Generation != 1 {
		t.Errorf("%+v", issuer)
	}
	if w := p.Warnings(); len(w) != 0 {
		t.Error(w)
	}
}

func file(text string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte("apiVersion: " + settings.APIVersion + "\n" + text), Mode: fs.ModePerm}
}

func TestEncodeThenParse(t *testing.T) {
	a, b := must(jwks.ParseKey([]byte(keys["KEY_A"]))), must(jwks.ParseKey([]byte(keys["KEY_B"])))
	c := enrollment.Cluster{
		ID: "prod", Generation: 3, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", Removed: true, ExternalKeyIDs: true,
		BootstrapKeys: jwks.Set{a, must(jwks.NewWithID(b.Public(), `"chosen: #1"`))}, SnapshotKeys: jwks.Set{must(snapshot.NewSigner()).Key()},
		AnnouncedKeys: jwks.Set{b}, RevokedKeys: []string{"- odd: #id"},
	}
	again, err := enrollment.ParseCluster("prod.yaml", c.Encode())
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Encode())
	}
	if diff := cmp.Diff(c, again, cmp.Comparer(jwks.Key.Equal)); diff != "" {
		t.Errorf("-written +read:\n%s", diff)
	}
}

func FuzzParseCluster(f *testing.F) {
	f.Add([]byte("apiVersion: " + settings.APIVersion + "\nkind: Cluster\nid: prod\nexporterServiceAccount: a/b\nbootstrapKeys: {keys: [" + keys["KEY_A"] + "]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := enrollment.ParseCluster("f.yaml", data)
		if err != nil {
			return
		}
		again, err := enrollment.ParseCluster("f.yaml", c.Encode())
		if diff := cmp.Diff(c, again, cmp.Comparer(jwks.Key.Equal)); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
