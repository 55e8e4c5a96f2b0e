package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// publisher are the settings of the world's first.
func (w *world) publisher() *enrollment.Publisher { return w.options.Publishers[0].Settings }

// second adds a publisher, of the mirror, that was told the same.
func (w *world) second() *enrollment.Publisher {
	w.Helper()
	w.secondData = w.TempDir()
	settings := *w.settings()
	settings.Name = "q"
	settings.Issuers[0].ServedAt = mirror
	documents, private := must(dir.Open(filepath.Join(w.secondData, "documents"))), must(dir.Open(filepath.Join(w.secondData, "private")))
	p := must(publish.New(publish.Config{Settings: settings, Documents: documents, Private: private}))
	must(p.Accept(w.Context(), snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: account}.NewExporter("q").Send(time.Now(), []snapshottest.Key{rsaKey()}, w.first)))
	w.options.Publishers = append(w.options.Publishers, doctor.Publisher{Settings: &settings, Data: w.secondData})
	w.exporter("destinations: [", "destinations: [{publisher: q, webhook: {url: https://other.example.com/v1/snapshots}}, ")
	w.metrics += "kube_iam_assume_exporter_last_accepted_timestamp_seconds{publisher=\"q\"} NOW\n"
	return w.options.Publishers[1].Settings
}

// edit changes a publisher's state behind its back. Its log still holds.
func (w *world) edit(data string, change func(*rotation.State)) {
	w.Helper()
	w.rewrite(data, func(old []byte) []byte {
		var state rotation.State
		if err := json.Unmarshal(old, &state); err != nil {
			w.Fatal(err)
		}
		change(&state)
		return must(json.Marshal(state))
	})
}

func (w *world) spoil(data string) {
	w.Helper()
	w.rewrite(data, func([]byte) []byte { return []byte("{") })
}

func (w *world) rewrite(data string, change func([]byte) []byte) {
	w.Helper()
	private, name := must(dir.Open(filepath.Join(data, "private"))), must(publish.ObjectsOf(w.settings().Issuers[0])).State
	object, version, err := private.Get(w.Context(), name)
	if err != nil {
		w.Fatal(err)
	}
	object.Body = change(object.Body)
	must(private.Put(w.Context(), name, object, version))
}

// bucket makes the first publisher's directory a bucket of a cloud, in which names that begin so are denied.
func (w *world) bucket(denied string) {
	w.Helper()
	w.options.Publishers[0].Data = "s3://private"
	private := must(location.Open(w.Context(), w.data))
	w.options.Open = func(_ context.Context, place string) (location.Reader, error) {
		if place != "s3://private" {
			return nil, location.ErrPlace
		}
		return guarded{private, denied}, nil
	}
}

// guarded denies some names.
type guarded struct {
	location.Reader
	denied string
}

func (g guarded) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if g.denied != "" && strings.HasPrefix(name, g.denied) {
		return bucket.Object{}, bucket.Absent, errors.New("denied")
	}
	return g.Reader.Get(ctx, name)
}

// A publisher's private bucket in a cloud tells the same as its directory would.
func TestAPrivateBucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := run(w)
	w.bucket("")
	after := run(w)
	for _, id := range []string{"publisher.state", "publisher.retirement", "publisher.trust", "publisher.log"} {
		want, _ := before.Check(id)
		if got, _ := after.Check(id); got != want || got.Status != doctor.OK {
			t.Errorf("%+v, from the directory %+v", got, want)
		}
	}
}

// Two publishers of one issuer, one of them of the mirror, both well.
func TestTwoPublishers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.second()
	report := run(w)
	for _, c := range report.Checks {
		if c.Status != doctor.OK && !ofClouds(c) {
			t.Errorf("%s: %s: %s", c.ID, c.Status, c.Detail)
		}
	}
	if heard, _ := report.Check("publisher.state"); heard.Detail != "p: revision 1, publication 1; q: revision 1, publication 1" {
		t.Error(heard)
	}
	// Of a publisher whose data is not known, nothing is said of its state; the other's counts.
	w.options.Publishers[1].Data = ""
	report = run(w)
	if state, _ := report.Check("publisher.state"); state.Status != doctor.OK {
		t.Error(state)
	}
}
