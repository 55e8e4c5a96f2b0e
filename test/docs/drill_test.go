package docs_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	incident   = "docs/incident.md"
	operations = "docs/operations.md"
	leaving    = "docs/leaving.md"
)

// A drill carries out what the pages say on the directory of a publisher that has one cluster with one key.
type drill struct {
	program  *built
	folder   string
	settings []string
	ids      map[string]string // old, new → key ID
}

func newDrill(t *testing.T) *drill {
	t.Helper()
	folder := t.TempDir()
	d := &drill{program: build(t), folder: folder, ids: map[string]string{}}
	d.settings = []string{"--settings", filepath.Join(folder, "publisher.yaml"), "--data", filepath.Join(folder, "data")}
	for _, name := range []string{"data/private", "data/documents"} {
		if err := os.MkdirAll(filepath.Join(folder, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cluster := enrollment.Cluster{ID: "prod-eu1", Generation: 1, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", BootstrapKeys: jwks.Set{d.key(t, "old")}}
	d.write(t, "prod-eu1.yaml", cluster.Encode())
	d.write(t, "publisher.yaml", []byte("apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publisher\nname: prod\n"+
		"issuers:\n- url: https://oidc.example.com/prod-eu1\n  clusters: [prod-eu1]\n"))
	d.write(t, "publishers.yaml", []byte("apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publishers\n"+
		"publishers: [{name: prod, directory: {settings: publisher.yaml, data: data}}]\n"))
	d.key(t, "new")
	return d
}

// key makes a key, and the file with its public half.
func (d *drill) key(t *testing.T, name string) jwks.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwks.New(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	d.ids[name] = key.ID()
	return key
}

func (d *drill) write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.folder, filepath.FromSlash(name)), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// carryOut runs the page's command that begins with these words, as it stands or, instead of as a dry run, really.
func (d *drill) carryOut(t *testing.T, page, begins string, really bool) (string, error) {
	t.Helper()
	for _, c := range read(t, page).commands() {
		if !strings.HasPrefix(strings.Join(c.arguments, " ")+" ", begins+" --") {
			continue
		}
		arguments := slices.Clone(c.arguments)
		for i, argument := range arguments {
			file := map[string]string{"sa-new.pub": "new.pub", "keys.json": "new.pub", "publishers.yaml": "publishers.yaml"}[argument]
			switch {
			case file != "":
				arguments[i] = filepath.Join(d.folder, file)
			case argument == "KEY-ID" || argument == "OLD-KEY-ID":
				arguments[i] = d.ids["old"]
			}
		}
		if really {
			arguments = append(slices.DeleteFunc(arguments, func(a string) bool { return a == "--dry-run" }), "--yes")
		}
		return d.run(t, arguments...)
	}
	t.Fatalf("%s has no command %s", page, begins)
	return "", nil
}

func (d *drill) run(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	switch arguments[0] {
	case "operate":
		arguments = append(arguments, d.settings...)
	case "revoke": // nobody serves the documents here
		arguments = append(arguments, "--wait", "0s")
	}
	out, err := exec.CommandContext(t.Context(), d.program.file, arguments...).CombinedOutput()
	return string(out), err
}

// must is carryOut where it has to succeed and to say something.
func (d *drill) must(t *testing.T, page, begins string, really bool, says string) {
	t.Helper()
	out, err := d.carryOut(t, page, begins, really)
	if err != nil || !strings.Contains(out, says) {
		t.Fatalf("%s: %s: %v, want %q in\n%s", page, begins, err, says, out)
	}
}

// announce is what stands in the page.
func (d *drill) announce(t *testing.T) {
	t.Helper()
	d.must(t, incident, "rotation announce", true, d.ids["new"])
}

// published compares the documents with what a page promises.
func (d *drill) published(t *testing.T, when string, names ...string) {
	t.Helper()
	documents, err := dir.Open(filepath.Join(d.folder, "data", "documents"))
	if err != nil {
		t.Fatal(err)
	}
	document, _, err := documents.Get(t.Context(), "prod-eu1/openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(document.Body, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(names) {
		t.Errorf("%s: %d keys are published, want %v", when, len(set.Keys), names)
	}
	for _, name := range names {
		if len(set.Key(d.ids[name])) == 0 {
			t.Errorf("%s: the %s key is not published", when, name)
		}
	}
}

func TestIncidentNewKeyFirst(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	d.announce(t)
	d.published(t, "announced", "old", "new")
	d.must(t, incident, "revoke", false, "key.revoked")
	d.published(t, "after a dry run", "old", "new")
	d.must(t, incident, "revoke", true, "key.revoked")
	d.published(t, "revoked with its word", "new")
}

func TestIncidentShutFirst(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	d.must(t, incident, "revoke", true, "key.revoked")
	d.published(t, "shut")
	d.announce(t)
	d.published(t, "announced afterwards", "new")
}

func TestOperations(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	d.must(t, operations, "operate enroll", true, "cluster.reenrolled")
	d.published(t, "re-enrolled", "old", "new")
	if out, err := d.carryOut(t, operations, "operate recover", false); err == nil || !strings.Contains(out, "not lost") {
		t.Errorf("recover of what is not lost: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(d.folder, "data", "private", "state")); err != nil {
		t.Fatal(err)
	}
	if out, err := d.carryOut(t, operations, "operate revoke", true); err == nil || !strings.Contains(out, "state is lost") {
		t.Errorf("a statement without a state: %v\n%s", err, out)
	}
	d.published(t, "without a state", "old", "new")
	d.must(t, operations, "operate recover", true, "state.recovered")
	d.must(t, operations, "operate revoke", false, "key.revoked")
	d.must(t, operations, "revoke", true, "key.revoked")
	d.published(t, "revoked", "new")
	d.must(t, leaving, "operate remove", true, "cluster.removed")
	d.published(t, "removed, within the retention", "new")
	out, err := d.run(t, "history", "--data", filepath.Join(d.folder, "data"))
	if err != nil {
		t.Errorf("the log does not hold: %v\n%s", err, out)
	}
}
