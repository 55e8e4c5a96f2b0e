package publish_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// Of the clusters that settings no longer have, only those are missed that reported and have keys left.
func TestVanished(t *testing.T) {
	t.Parallel()
	issuer := func(id string) string { return "https://oidc.example.com/" + id }
	documents, private := memory.New(memory.ContentVersions), memory.New(memory.ContentVersions)
	keys := map[string]snapshottest.Key{}
	at := issuer // where the settings have the issuers
	with := func(generation int, ids ...string) *publish.Publisher {
		t.Helper()
		settings := enrollment.Publisher{Name: "p"}
		for _, id := range ids {
			if _, ok := keys[id]; !ok {
				keys[id] = snapshottest.NewKey()
			}
			settings.Issuers = append(settings.Issuers, enrollment.Issuer{URL: at(id), Path: id, Retention: 48 * time.Hour, Clusters: []enrollment.Cluster{{
				ID: id, Generation: generation, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{keys[id].Key}, Removed: id == "removed" && generation > 1,
			}}})
		}
		p, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: private})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all := []string{"kept", "removed", "reported", "silent"}
	p := with(1, all...)
	if err := p.Reconcile(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, id := range all[:3] {
		e := snapshottest.Cluster{ID: id, Issuer: issuer(id), ServiceAccount: "a/b"}.NewExporter("p")
		if _, err := p.Accept(context.Background(), e.Send(time.Now(), []snapshottest.Key{keys[id]}, keys[id])); err != nil {
			t.Fatal(err)
		}
	}
	if err := with(2, all...).Reconcile(context.Background()); err != nil { // enrolled anew: no snapshot of this generation
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		settings, before, want []string
	}{
		"nothing changed":                   {settings: all},
		"all but one left with the issuers": {settings: all[:1], before: []string{issuer("kept"), issuer("removed"), issuer("reported"), issuer("silent")}, want: []string{"removed", "reported"}},
		"an issuer nobody ever published":   {settings: all[:1], before: []string{issuer("other")}},
	} {
		if got, err := with(2, test.settings...).Vanished(context.Background(), test.before...); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}

	at = func(id string) string { return "https://elsewhere.example.com/" + id }
	for name, test := range map[string]struct {
		settings, before, want []string
	}{
		"all moved":               {settings: all, before: []string{issuer("silent"), issuer("removed"), issuer("reported"), issuer("kept")}, want: []string{"kept", "removed", "reported"}},
		"moved and vanished":      {settings: all[:1], before: []string{issuer("kept"), issuer("reported")}, want: []string{"kept"}},
		"as it was":               {settings: all, before: []string{at("kept")}},
		"issuers nobody ever had": {settings: all, before: []string{"https://other.example.com/kept"}},
	} {
		if got, err := with(2, test.settings...).Moved(context.Background(), test.before...); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}
