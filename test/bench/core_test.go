// Package bench measures what a snapshot costs. Every figure stands beside one that does not depend on this project, measured in
// the same run: `make bench` prints their ratio.
package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var (
	now     = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	cluster = snapshottest.Cluster{ID: "prod", Issuer: "https://127.0.0.1:1/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}
)

// keys are an RSA one, as most clusters have, which vouches, and EC ones: 80 RSA keys would not fit an envelope.
func keys(n int) []snapshottest.Key {
	all := []snapshottest.Key{snapshottest.NewRSAKey()}
	for len(all) < n {
		all = append(all, snapshottest.NewKey())
	}
	return all
}

func set(all []snapshottest.Key) jwks.Set {
	var s jwks.Set
	for _, key := range all {
		s = append(s, key.Key)
	}
	return s
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{1, 3, 80} {
		all := keys(n)
		e := cluster.NewExporter("p")
		envelope := e.Send(now, all, all[0])
		opened := must(snapshot.Open(envelope))
		b.Run(fmt.Sprintf("keys=%d/signatures", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() { // what nobody can do without: the envelope's signature and the API server's
				verify(b, string(envelope), jose.ES256, e.Signer.Key())
				verify(b, opened.Attestations[0], jose.RS256, all[0].Key)
			}
		})
		b.Run(fmt.Sprintf("keys=%d/open+advance", n), func(b *testing.B) {
			b.ReportAllocs()
			advance(b, envelope, all)
		})
	}
}

func verify(b *testing.B, token string, algorithm jose.SignatureAlgorithm, key jwks.Key) {
	jws := must(jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{algorithm}))
	if _, err := jws.Verify(key.Public()); err != nil {
		b.Fatal(err)
	}
}

// advance judges one snapshot of all keys on a fresh state. The limit of 16 keys of a cluster is the publisher's; a refusal for it
// comes after all the work, which is what 80 keys are to show.
func advance(b *testing.B, envelope []byte, all []snapshottest.Key) {
	policy := rotation.Policy{Issuer: cluster.Issuer, Retention: 48 * time.Hour, Members: []rotation.Member{
		{Cluster: cluster.ID, Generation: 1, ServiceAccount: cluster.ServiceAccount, Bootstrap: set(all[:1])},
	}}
	state := must(rotation.Reconcile(rotation.State{}, now, policy)).State
	for b.Loop() {
		opened := must(snapshot.Open(envelope))
		if err := opened.Check(snapshot.Expected{Cluster: cluster.ID, Publisher: "p", Issuer: cluster.Issuer}, now); err != nil {
			b.Fatal(err)
		}
		if _, err := rotation.Advance(state, opened, now, policy); err != nil && len(all) <= rotation.MaxKeysPerCluster {
			b.Fatal(err)
		}
	}
}

// A heartbeat changes no key: the directory's share is what its fsyncs cost.
func BenchmarkAcceptHeartbeat(b *testing.B) {
	all := keys(1)
	for _, driver := range []struct {
		name string
		open func() bucket.Bucket
	}{
		{"memory", func() bucket.Bucket { return memory.New(memory.UniqueVersions) }},
		{"dir", func() bucket.Bucket { return must(dir.Open(b.TempDir())) }},
	} {
		b.Run(driver.name, func(b *testing.B) {
			e := cluster.NewExporter("p")
			p := must(publish.New(publish.Config{
				Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
					URL: cluster.Issuer, Path: "prod", Retention: 48 * time.Hour,
					Clusters: []enrollment.Cluster{{ID: cluster.ID, Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: set(all)}},
				}}},
				Documents: driver.open(), Private: driver.open(),
			}))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				envelope := e.Send(time.Now().Add(-time.Minute), all, all[0])
				b.StartTimer()
				must(p.Accept(context.Background(), envelope))
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
