package doctor_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// maxLife keeps every token shorter than the retention.
const maxLife = "--service-account-max-token-expiration=24h"

// realWorld is a world whose API servers are real.
type realWorld struct {
	*world
	cluster *kube.Cluster
	healthy kube.Config
	key     *kube.Key
}

func newRealWorld(t *testing.T) *realWorld {
	t.Helper()
	key := kube.NewKey(t, kube.RSA2048)
	r := &realWorld{world: newWorld(t), key: key, healthy: kube.Config{Keys: kube.Keys{Sign: key}, Issuers: []string{issuer}, Flags: []string{maxLife}}}
	r.first = snapshottest.Key{Key: must(jwks.New(key.Public())), Private: key.Private()}
	if err := os.RemoveAll(r.data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(r.data, 0o700); err != nil {
		t.Fatal(err)
	}
	r.publish(r.first)
	r.cluster = kube.Start(t, kube.Options{Servers: []kube.Config{r.healthy, r.healthy}})
	r.options.Publishers[0].Settings = r.settings()
	r.options.Config = r.cluster.AdminConfig(0)
	return r
}

// Real API servers, with flags as people set them. The steps build on each other: an API server takes seconds to start.
func TestOnRealAPIServers(t *testing.T) {
	t.Parallel()
	r := newRealWorld(t)
	broken := func(name, want, says string) {
		t.Helper()
		report := run(r.world)
		got, _ := report.Check(want)
		if report.First != want || !strings.Contains(got.Detail, says) {
			first, _ := report.Check(report.First)
			t.Errorf("%s: the first broken link is %+v\nwanted is %s that says %q: %+v", name, first, want, says, got)
		}
	}
	broken("nobody installed the exporter", "tokens.issued", "there is no service account "+account)
	r.cluster.CreateServiceAccount(t, "kube-iam-assume", "other")
	r.options.Account, r.options.Publishers[0].Settings.Issuers[0].Clusters[0].ExporterServiceAccount = "kube-iam-assume/other", "kube-iam-assume/other"
	broken("an account without the chart's roles", "tokens.attestation", "may not create serviceaccounts/token")
	r.options.Account, r.options.Publishers[0].Settings = "", r.settings()

	r.cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	for _, c := range run(r.world).Checks {
		if c.Status != doctor.OK && !needsMore(c) {
			t.Errorf("healthy: %s: %s: %s", c.ID, c.Status, c.Detail)
		}
	}

	second, other := r.cluster.Servers[1], kube.NewKey(t, kube.RSA2048)
	with := func(change func(*kube.Config)) kube.Config {
		c := r.healthy
		change(&c)
		return c
	}
	for _, step := range []struct {
		name, want, says string
		config           kube.Config
	}{
		{"the issuer is not https", "cluster.discovery", "404", with(func(c *kube.Config) { c.Issuers = []string{"kubernetes/serviceaccount"} })},
		{"another issuer first", "issuer.same", "https://old.example.com", with(func(c *kube.Config) { c.Issuers = []string{"https://old.example.com", issuer} })},
		{"a signing key that is not listed", "tokens.signing-key", other.ID(), with(func(c *kube.Config) { c.Keys = kube.Keys{Sign: other, Verify: []*kube.Key{r.key}} })},
		{"a key of its own", "tokens.mutual", "with which another signs", with(func(c *kube.Config) { c.Keys = kube.Keys{Sign: other} })},
		{"a new key first published, not yet signing", "jwks.complete", other.ID(), with(func(c *kube.Config) { c.Keys = kube.Keys{Sign: r.key, Verify: []*kube.Key{r.key, other}} })},
		{"tokens for ever", "", "", with(func(c *kube.Config) { c.Flags = nil })},
	} {
		second.Restart(t, step.config)
		r.cluster.WaitForEndpoints(t, 0, 1)
		if step.want != "" {
			broken(step.name, step.want, step.says)
		} else if got, _ := run(r.world).Check("tokens.lifetime"); got.Status != doctor.Warn || !strings.Contains(got.Detail, "10 years") {
			t.Errorf("%s: %+v", step.name, got)
		}
	}
	r.bothServers(broken, with, other)
	second.Kill()
	broken("an API server was killed", "cluster.each", "does not answer")
}

// bothServers is what only shows when every API server has it.
func (r *realWorld) bothServers(broken func(name, want, says string), with func(func(*kube.Config)) kube.Config, other *kube.Key) {
	r.Helper()
	restart := func(c kube.Config) {
		r.Helper()
		for _, s := range r.cluster.Servers {
			s.Restart(r.T, c)
		}
		r.cluster.WaitForEndpoints(r.T, 0, 1)
	}
	restart(with(func(c *kube.Config) { c.Flags = []string{maxLife, "--api-audiences=" + issuer + "," + audience} }))
	broken("a cloud among the API audiences", "tokens.default-audience", audience)
	restart(with(func(c *kube.Config) { c.Keys = kube.Keys{Sign: other} }))
	broken("a rotation that nobody announced", "publisher.trust", "unknown to it")
	restart(r.healthy)
	r.change(jwksURL, func(a *answer) { a.status = http.StatusForbidden })
	broken("the keys are not public", "jwks.status", "403")
	delete(r.web, jwksURL)
	broken("the keys are gone", "jwks.status", "404")
}
