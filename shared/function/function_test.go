package function_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func TestBuckets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ documents, private, want string }{
		"two":        {"a", "b", ""},
		"none":       {"", "", "PRIVATE_BUCKET is not set"},
		"no public":  {"", "b", "DOCUMENTS_BUCKET is not set"},
		"no private": {"a", "", "PRIVATE_BUCKET is not set"},
		"one":        {"a", "a", `both "a"`},
	} {
		environment := map[string]string{function.DocumentsVariable: test.documents, function.PrivateVariable: test.private}
		documents, private, err := function.Buckets(func(name string) string { return environment[name] })
		switch {
		case test.want == "" && (err != nil || documents != test.documents || private != test.private):
			t.Errorf("%s: %q, %q, %v", name, documents, private, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	const publisher = "apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publisher\nname: p\nissuers: [{url: \"https://oidc.example.com/prod\", clusters: [prod]}]\nclusters: {directory: .}\n"
	cluster := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{snapshottest.NewKey().Key}}
	for name, test := range map[string]struct {
		publisher string
		want      error
	}{
		"good":             {publisher, nil},
		"nothing there":    {"", os.ErrNotExist},
		"an unknown field": {publisher + "retention: 48h\n", settings.ErrInvalid},
	} {
		folder, log := t.TempDir(), &bytes.Buffer{}
		for file, content := range map[string]string{"publisher.yaml": test.publisher, "prod.yaml": string(cluster.Encode())} {
			if content == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := function.Settings(folder, slog.New(slog.NewJSONHandler(log, nil)))
		if !errors.Is(err, test.want) || test.want == nil && got.Name != "p" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// broken is a store that a test can break.
type broken struct {
	*memory.Bucket
	how func() error
}

func (b *broken) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if b.how != nil {
		if err := b.how(); err != nil {
			return bucket.Object{}, bucket.Absent, err
		}
	}
	return b.Bucket.Get(ctx, name)
}

var errStore = errors.New("the store does not answer")

// rig is a publisher of one cluster.
type rig struct {
	publisher *publish.Publisher
	private   *broken
	key       snapshottest.Key
	exporter  *snapshottest.Exporter
	log       *bytes.Buffer
	logger    *slog.Logger
}

const issuer = "https://oidc.example.com/prod"

func newRig(tb testing.TB) *rig {
	tb.Helper()
	r := &rig{key: snapshottest.NewKey(), log: &bytes.Buffer{}, private: &broken{Bucket: memory.New(memory.ContentVersions)}}
	r.logger = slog.New(slog.NewJSONHandler(r.log, nil))
	r.exporter = snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: "a/b"}.NewExporter("p")
	cluster := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{r.key.Key}}
	p, err := publish.New(publish.Config{
		Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
			URL: issuer, Path: "prod", Retention: 48 * time.Hour, Clusters: []enrollment.Cluster{cluster},
		}}},
		Documents: memory.New(memory.ContentVersions), Private: r.private, Logger: r.logger,
	})
	if err != nil {
		tb.Fatal(err)
	}
	r.publisher = p
	return r
}

// TestTake: a queue forgets what was accepted or refused, and keeps what may succeed later.
func TestTake(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		how      func() error
		envelope string // empty for a good one
		again    bool
		saw      string
	}{
		"good":               {saw: "snapshot.accepted"},
		"poison":             {envelope: "poison", saw: "request.rejected"},
		"the store is down":  {how: func() error { return errStore }, again: true, saw: "queue.returned"},
		"a bug":              {how: func() error { panic("a bug") }, again: true, saw: "queue.returned"},
		"poison has no turn": {how: func() error { return errStore }, envelope: "poison", saw: "request.rejected"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.private.how = test.how
			envelope := []byte(test.envelope)
			if len(envelope) == 0 {
				envelope = r.exporter.Send(time.Now(), []snapshottest.Key{r.key}, r.key)
			}
			if err := function.Take(t.Context(), r.publisher, r.logger, "m1", envelope); (err != nil) != test.again {
				t.Error(err)
			}
			if log := r.log.String(); !strings.Contains(log, `"event":"`+test.saw+`"`) {
				t.Error(log)
			}
		})
	}
}

// Whatever comes to the operator's door, it is an order and is answered, or it is refused.
func FuzzOperate(f *testing.F) {
	for _, action := range []rotation.Action{rotation.Revoke, rotation.Lift, rotation.Remove, rotation.Recover, "drop"} {
		statement, err := json.Marshal(rotation.Statement{Issuer: issuer, Cluster: "prod", Action: action, KeyIDs: []string{"a"}, Reason: "r"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(`{"statement": ` + string(statement) + `, "dryRun": true}`)
	}
	f.Add(`{"statement": {}, "force": true}`)
	r := newRig(f)
	if _, err := r.publisher.Accept(f.Context(), r.exporter.Send(time.Now(), []snapshottest.Key{r.key}, r.key)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		answer, err := function.Operate(t.Context(), r.publisher, []byte(payload))
		if (err == nil) != json.Valid(answer) {
			t.Errorf("%s: %s, %v", payload, answer, err)
		}
	})
}
