package doctor_test

import (
	"errors"
	"maps"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func allSetups() map[string]setup {
	all := maps.Clone(setups)
	maps.Copy(all, publisherSetups)
	return all
}

var publisherSetups = map[string]setup{
	// One publisher.
	"the issuer is not enrolled":              {func(w *world) { w.publisher().Issuers[0].URL += "-2" }, "publisher.enrolled", doctor.Broken, "has no issuer"},
	"the cluster is not enrolled":             {func(w *world) { w.exporter("cluster: prod", "cluster: test") }, "publisher.cluster", doctor.Broken, `"test" is not enrolled`},
	"another account is believed":             {func(w *world) { w.publisher().Issuers[0].Clusters[0].ExporterServiceAccount = "a/b" }, "publisher.cluster", doctor.Broken, "believes a/b"},
	"the cluster was removed":                 {func(w *world) { w.publisher().Issuers[0].Clusters[0].Removed = true }, "publisher.cluster", doctor.Broken, "is removed"},
	"the exporter sends to another publisher": {func(w *world) { w.publisher().Name = "q" }, "publisher.named", doctor.Broken, `"q"`},
	"the state is lost":                       {func(w *world) { w.remove("state") }, "publisher.state", doctor.Broken, "there is no state"},
	"the publisher heard nothing for an hour": {func(w *world) {
		w.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
		w.options.ExporterURL = ""
	}, "publisher.heard", doctor.Broken, "ago"},
	"the publisher's clock is ahead": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) { s.Clusters[0].Received = time.Now().Add(time.Hour) })
	}, "publisher.heard", doctor.Broken, "from now"},
	"a rotation that nobody announced": {func(w *world) {
		w.each(func(s *fakeServer) { s.sign, s.keys = otherKey(), []snapshottest.Key{otherKey()} })
	}, "publisher.trust", doctor.Broken, "is unknown to it"},
	"the publisher runs with older settings": {func(w *world) { w.publisher().Issuers[0].Clusters[0].Generation = 2 }, "publisher.generation", doctor.Broken, "older settings"},
	"these settings are old": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) { s.Clusters[0].Generation = 2 })
	}, "publisher.generation", doctor.Broken, "these settings are old"},
	"an API server is not in the snapshots": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) { s.Clusters[0].Additive = time.Now() })
	}, "publisher.retirement", doctor.Warn, "no key can retire"},
	"the publisher's clock jumped": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) { s.Unsure = time.Now() })
	}, "publisher.retirement", doctor.Warn, "in doubt"},
	"another cluster of the issuer is silent": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) {
			other := s.Clusters[0]
			other.ID, other.Received = "quiet", time.Now().Add(-time.Hour)
			s.Clusters = append(s.Clusters, other)
		})
		members := &w.publisher().Issuers[0].Clusters
		for _, id := range []string{"quiet", "never"} {
			member := (*members)[0]
			member.ID = id
			*members = append(*members, member)
		}
	}, "publisher.members", doctor.Warn, "quiet was heard 1h0m0s ago; never was never heard"},
	"the publisher's settings are none": {func(w *world) {
		w.options.Publishers = []doctor.Publisher{{Err: errors.New("line 3: no such member")}}
	}, "publisher.enrolled", doctor.Broken, "line 3"},
	"no directory of a publisher": {func(w *world) { w.options.Publishers[0].Data = "/nowhere" }, "publisher.state", doctor.Broken, "holds no publisher's data"},
	"the private bucket is denied": {func(w *world) {
		w.bucket("state/")
	}, "publisher.state", doctor.Unknown, "s3://private: denied"},
	"the log in the bucket is denied": {func(w *world) {
		w.bucket("log/")
	}, "publisher.log", doctor.Unknown, "s3://private: denied"},
	"a state that is none": {func(w *world) { w.spoil(w.data) }, "publisher.state", doctor.Broken, "unreadable"},

	// Between publishers.
	"two publishers of the same name": {func(w *world) { w.second().Name = "p" }, "publishers.names", doctor.Broken, `two are called "p"`},
	"a publisher was not told of a key": {func(w *world) {
		w.second()
		w.edit(w.secondData, func(s *rotation.State) { s.Clusters[0].Keys = s.Clusters[0].Keys[:0] })
	}, "publisher.trust", doctor.Broken, "q: "},
	"a key is announced at one publisher": {func(w *world) {
		w.second()
		w.edit(w.secondData, func(s *rotation.State) {
			s.Clusters[0].Keys = append(s.Clusters[0].Keys, rotation.Key{JWK: otherKey().Key, Status: rotation.Announced})
		})
	}, "publishers.keys", doctor.Warn, "of prod, q trusts " + otherKey().ID() + ", and p does not"},
	"a key is revoked at one publisher": {func(w *world) {
		w.second()
		w.edit(w.secondData, func(s *rotation.State) {
			s.Clusters[0].Revoked = []rotation.Revocation{{Key: otherKey().SPKI(), ID: otherKey().ID(), At: time.Now()}}
		})
	}, "publishers.revocations", doctor.Broken, otherKey().ID() + " is revoked at q, and not at p"},
	"one publisher hears less": {func(w *world) {
		w.second()
		w.edit(w.secondData, func(s *rotation.State) { s.Clusters[0].Received = time.Now().Add(-20 * time.Minute) })
	}, "publishers.age", doctor.Warn, "q heard prod last at"},
	"a revoked key is still published": {func(w *world) {
		w.edit(w.data, func(s *rotation.State) {
			s.Clusters[0].Revoked = []rotation.Revocation{{Key: otherKey().SPKI(), ID: otherKey().ID(), At: time.Now()}}
		})
		w.change(mirror+stranger.JWKSPath, func(a *answer) { a.body = string(jwks.Set{rsaKey().Key, otherKey().Key}.Encode()) })
	}, "mirrors.keys", doctor.Broken, "only there: " + otherKey().ID()},
	"a revoked key is published everywhere": {func(w *world) {
		w.each(func(s *fakeServer) { s.keys = append(s.keys, otherKey()) })
		w.publish(rsaKey(), otherKey())
		w.options.Config, w.options.ClusterErr = nil, apiserver.ErrNoKubeconfig
		w.options.ExporterURL = ""
		w.edit(w.data, func(s *rotation.State) {
			s.Clusters[0].Revoked = []rotation.Revocation{{Key: otherKey().SPKI(), ID: otherKey().ID(), At: time.Now()}}
		})
	}, "publishers.revoked", doctor.Broken, "is published at " + mirror},
	"somebody cut the log": {func(w *world) {
		w.publish(rsaKey(), otherKey())
		w.publish(rsaKey(), otherKey(), thirdKey())
		w.remove("log/*/0000000002.json@")
	}, "publisher.log", doctor.Broken, "record 2 is missing"},
}
