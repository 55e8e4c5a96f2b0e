package history_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	issuer  = "https://oidc.example.com/prod"
	account = "kube-iam-assume/cluster-exporter"
)

// past is a publisher's directory with a life in it: enrolled with A, rotated to B (announced by the operator), A gone after its retention,
// C brought in on B's word and revoked.
type past struct {
	*testing.T
	data    string
	now     time.Time
	a, b, c snapshottest.Key
}

func live(t *testing.T) *past {
	t.Helper()
	p := &past{
		T: t, data: t.TempDir(), now: time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC),
		a: snapshottest.NewKey(), b: snapshottest.NewKey(), c: snapshottest.NewKey(),
	}
	publisher := p.publisher()
	exporter := snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: account}.NewExporter("p")
	send := func(keys []snapshottest.Key, by ...snapshottest.Key) {
		t.Helper()
		if _, err := publisher.Accept(t.Context(), exporter.Send(p.now, keys, by...)); err != nil {
			t.Fatal(err)
		}
		p.now = p.now.Add(10 * time.Minute)
	}
	operate := func(s rotation.Statement) {
		t.Helper()
		s.Issuer, s.Cluster = issuer, "prod"
		if _, err := publisher.Operate(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	send([]snapshottest.Key{p.a}, p.a)
	send([]snapshottest.Key{p.a}, p.a) // changes nothing and leaves no record
	operate(rotation.Statement{Action: rotation.Announce, Keys: jwks.Set{p.b.Key}, Reason: "rotation of November"})
	send([]snapshottest.Key{p.a, p.b}, p.b)
	send([]snapshottest.Key{p.b}, p.b)
	for range 58 { // more than the retention
		p.now = p.now.Add(40 * time.Minute)
		send([]snapshottest.Key{p.b}, p.b)
	}
	send([]snapshottest.Key{p.b, p.c}, p.b)
	operate(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{p.c.ID()}, Reason: "not ours"})
	send([]snapshottest.Key{p.b}, p.b)
	return p
}

// copied is the same past in another directory.
func (p *past) copied(t *testing.T) *past {
	t.Helper()
	c := *p
	c.T, c.data = t, t.TempDir()
	if err := os.CopyFS(c.data, os.DirFS(p.data)); err != nil {
		t.Fatal(err)
	}
	return &c
}

func (p *past) publisher() *publish.Publisher {
	settings := enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
		URL: issuer, Path: "prod", Retention: 48 * time.Hour,
		Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: account, BootstrapKeys: jwks.Set{p.a.Key}}},
	}}}
	return must(publish.New(publish.Config{
		Settings: settings, Documents: must(dir.Open(filepath.Join(p.data, "documents"))), Private: must(dir.Open(filepath.Join(p.data, "private"))),
		Now: func() time.Time { return p.now },
	}))
}

func (p *past) record(number int) string {
	return filepath.Join(p.data, "private", "log", "oidc.example.com!prod", fmt.Sprintf("%010d.json@", number))
}

// edit replaces text in a file, once.
func (p *past) edit(file, old, with string) {
	p.Helper()
	data := string(must(os.ReadFile(file)))
	if !strings.Contains(data, old) {
		p.Fatalf("%s holds no %q", file, old)
	}
	p.write(file, strings.Replace(data, old, with, 1))
}

func (p *past) write(file, text string) {
	p.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		p.Fatal(err)
	}
}

func (p *past) remove(file string) {
	p.Helper()
	if err := os.Remove(file); err != nil {
		p.Fatal(err)
	}
}

// print is the command's output, with names for what differs from run to run.
func (p *past) print(arguments ...string) (string, error) {
	p.Helper()
	c := history.Command()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(append([]string{"--data", p.data}, arguments...))
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(p.Context())
	return strings.NewReplacer(p.a.ID(), "KEY-A", p.b.ID(), "KEY-B", p.c.ID(), "KEY-C").Replace(out.String()), err
}

func TestAHistoryThatHolds(t *testing.T) {
	t.Parallel()
	p := live(t)
	table, err := p.print()
	if err != nil {
		t.Fatal(err, table)
	}
	golden(t, "holds.table", table)
	report, err := p.print("-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "holds.json", regexp.MustCompile(`"digest": "[-_A-Za-z0-9]{43}"`).ReplaceAllString(report, `"digest": "DIGEST"`))
	yaml, err := p.print("-o", "yaml", "--issuer", issuer)
	if err != nil || !strings.HasPrefix(yaml, "logs:\n- issuer: "+issuer) {
		t.Fatal(err, yaml)
	}
}

// What an object store's own tool downloads has other file names and no headers; the report is the same.
func TestADownloadedBucketReadsTheSame(t *testing.T) {
	t.Parallel()
	p := live(t)
	want, err := p.print()
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"private/log/*/*.json@", "private/state/*.json@"} {
		for _, file := range must(filepath.Glob(filepath.Join(p.data, pattern))) {
			_, body, _ := strings.Cut(string(must(os.ReadFile(file))), "\n\n")
			p.remove(file)
			p.write(strings.TrimSuffix(file, "@"), body)
		}
	}
	p.data = filepath.Join(p.data, "private")
	if got, err := p.print(); err != nil || got != want {
		t.Fatal(err, cmp.Diff(want, got))
	}
	state := filepath.Join(p.data, "state", "oidc.example.com!prod.json")
	p.remove(state)
	if got, err := p.print(); err != nil || !strings.Contains(got, "nobody can tell whether records are missing at the end") {
		t.Fatal(err, got)
	}
	p.data = filepath.Join(p.data, "log", "oidc.example.com!prod")
	if got, err := p.print(); err != nil || !strings.Contains(got, "The log holds") {
		t.Fatal(err, got)
	}
}

func TestWhatBreaksAHistory(t *testing.T) {
	t.Parallel()
	healthy := live(t)
	for name, test := range map[string]struct {
		harm func(*past)
		want string
	}{
		"a record in the middle is missing":            {func(p *past) { p.remove(p.record(3)) }, "record 3 is missing: the log has a gap"},
		"two are":                                      {func(p *past) { p.remove(p.record(3)); p.remove(p.record(4)) }, "records 3 to 4 are missing"},
		"the first is":                                 {func(p *past) { p.remove(p.record(1)) }, "record 1 is missing"},
		"the last is":                                  {func(p *past) { p.remove(p.record(7)) }, "record 7 is missing at the end: the state knows 7"},
		"a reason was changed":                         {func(p *past) { p.edit(p.record(2), "rotation of November", "rotation of December") }, "record 3 does not follow record 2"},
		"the last was changed":                         {func(p *past) { p.edit(p.record(7), "not ours", "was ours") }, "record 7 is not the one that the state knows"},
		"a record was moved":                           {func(p *past) { p.write(p.record(8), string(must(os.ReadFile(p.record(3))))) }, "record 8 says that it is number 3"},
		"a record was added":                           {func(p *past) { p.write(p.record(8), string(must(os.ReadFile(p.record(7))))) }, "the state was rolled back, or somebody wrote into the log"},
		"a record is no JSON":                          {func(p *past) { p.edit(p.record(3), `{"number"`, `["number"`) }, "record 3 is no record of a publisher of this version"},
		"a file has no headers":                        {func(p *past) { p.edit(p.record(3), "Content-Type: ", "") }, "its file has no headers of a bucket"},
		"a snapshot's signature":                       {func(p *past) { p.flip(3) }, "record 3: its snapshot does not hold: signature is not by the snapshot key"},
		"received after it expired":                    {func(p *past) { p.edit(p.record(3), `"received":"2026-11-02T`, `"received":"2026-11-03T`) }, "record 3: its snapshot does not hold: expired"},
		"another trust":                                {func(p *past) { p.edit(p.record(6), `"trust":"attested by `, `"trust":"remembered by `) }, "record 6 says that it was believed as"},
		"a key in the state after that nobody brought": {func(p *past) { p.smuggle() }, "record 6 publishes the key KEY-A, and none of its changes says so"},
		"the state is unreadable":                      {func(p *past) { p.write(p.state(), "Content-Type: application/json\n\n{") }, "the state can't be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := healthy.copied(t)
			test.harm(p)
			out, err := p.print()
			if !errors.Is(err, history.ErrBroken) || !strings.Contains(out, test.want) || strings.Contains(out, "The log holds") {
				t.Fatalf("%v; want %q in\n%s", err, test.want, out)
			}
		})
	}
}

func (p *past) state() string {
	return filepath.Join(p.data, "private", "state", "oidc.example.com!prod.json@")
}

// flip changes the signature of a record's snapshot.
func (p *past) flip(number int) {
	data := string(must(os.ReadFile(p.record(number))))
	signature := regexp.MustCompile(`"envelope":"[^".]+\.[^".]+\.([^"]+)"`).FindStringSubmatch(data)[1]
	other := "A" + signature[1:]
	if other == signature {
		other = "B" + signature[1:]
	}
	p.write(p.record(number), strings.Replace(data, signature, other, 1))
}

// smuggle puts key A, which had gone, back into what record 6 says is published.
func (p *past) smuggle() {
	jwk := string(must(p.a.MarshalJSON()))
	p.edit(p.record(6), `"keys":[{"jwk":`, `"keys":[{"jwk":`+jwk+`,"status":"current","added":"2026-11-02T08:00:00Z","vouchedBy":["enrollment"]},{"jwk":`)
}

// The publisher commits a change before it writes its record.
func TestARecordThatIsNotWrittenYet(t *testing.T) {
	t.Parallel()
	p := live(t)
	p.edit(p.state(), `,"log":{`, `,"log":{"pending":`+p.body(7)+`,`)
	p.remove(p.record(7))
	if out, err := p.print(); err != nil || !strings.Contains(out, "Record 7 is not written yet") {
		t.Fatal(err, out)
	}
}

func (p *past) body(number int) string {
	_, body, _ := strings.Cut(string(must(os.ReadFile(p.record(number)))), "\n\n")
	return body
}

func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	p := live(t)
	if _, err := p.print("-o", "xml"); err == nil || !strings.Contains(err.Error(), "want table, json or yaml") {
		t.Error(err)
	}
	if _, err := p.print("prod"); !errors.Is(err, command.ErrUsage) {
		t.Error(err)
	}
	if _, err := p.print("--issuer", "https://oidc.example.com/other"); !errors.Is(err, history.ErrNoLog) {
		t.Error(err)
	}
	p.data = t.TempDir()
	if _, err := p.print(); !errors.Is(err, history.ErrNoLog) {
		t.Error(err)
	}
	p.data = filepath.Join(p.data, "nowhere")
	if _, err := p.print(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// golden compares with a file of testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(must(os.ReadFile(file))), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
