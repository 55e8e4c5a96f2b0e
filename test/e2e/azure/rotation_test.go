package azure

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const audience = "api://AzureADTokenExchange"

// TestRotation rotates a real API server's key while the platform moves the app to another machine, with a relying party that verifies all
// the time and never fails.
func TestRotation(t *testing.T) {
	c := newCloud(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048)
	cluster := kube.Start(t, kube.Options{Issuer: c.issuer, Keys: kube.Keys{Sign: a}})
	cluster.InstallExporter(t, "kube-iam-assume", "cluster-exporter")
	cluster.CreateServiceAccount(t, "production", "payments")
	c.enroll(a)
	c.deploy()
	c.schedule()
	if !c.publishes(a) {
		t.Fatal("the enrolled key is not published before the first snapshot")
	}
	kubelet := c.export(cluster)
	c.eventually("a snapshot is accepted", func() bool { return c.said(`"event":"snapshot.accepted"`, "attested by") })
	party := c.rely(cluster)

	server := cluster.Servers[0]
	with := func(sign *kube.Key, verify ...*kube.Key) kube.Config {
		return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{c.issuer}}
	}
	server.Restart(t, with(a, a, b)) // it knows the new key
	c.eventually("the new key is published", func() bool { return c.publishes(b) })
	c.deploy()
	server.Restart(t, with(b, a, b)) // it signs with it
	c.eventually("the new key has signed", func() bool { return party.seen(b) })
	if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		t.Fatal(err)
	}
	server.Restart(t, with(b, b)) // it has forgotten the old one
	c.eventually("the old key is retiring", func() bool { return c.said(`"event":"key.retiring"`, a.ID()) })
	before := party.count()
	c.eventually("tokens of both keys go on being verified", func() bool { return party.count() > before+10 })
	party.hold(t)

	c.schedule()
	if !c.publishes(a) || !c.publishes(b) {
		t.Error("a retiring key is not published")
	}
	for _, event := range []string{`"event":"readback.`, `"event":"document.repaired"`, `"event":"invocation.failed"`, `"event":"settings.invalid"`} {
		if c.said(event) {
			t.Errorf("the log has %s", event)
		}
	}
}

// party is a relying party: an independent verifier that knows the issuer's URL and nothing else.
type party struct {
	c    *cloud
	stop func()

	mu       sync.Mutex
	verified int
	failures []error
	tokens   map[string]string // key ID → the first token of it, which must go on being accepted
}

// rely mints a token every 100 ms, and verifies it and the first of every key.
func (c *cloud) rely(cluster *kube.Cluster) *party {
	c.Helper()
	p := &party{c: c, tokens: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for ; ctx.Err() == nil; <-ticks.C {
			p.round(ctx, cluster)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	c.Cleanup(p.stop)
	return p
}

func (p *party) round(ctx context.Context, cluster *kube.Cluster) {
	seconds := int64(600)
	minting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := cluster.Admin(0).CoreV1().ServiceAccounts("production").CreateToken(minting, "payments", &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, meta.CreateOptions{})
	if err != nil {
		return // the server is being restarted; nobody got a token
	}
	for _, token := range p.remember(answer.Status.Token) {
		err := p.verify(ctx, token)
		if ctx.Err() != nil {
			return
		}
		p.mu.Lock()
		p.verified++
		if err != nil {
			p.failures = append(p.failures, err)
		}
		p.mu.Unlock()
	}
}

// remember returns what is to be verified now: a token, and the first of every key.
func (p *party) remember(token string) []string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		p.c.Errorf("the API server's token: %v", err)
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.tokens[parsed.Headers[0].KeyID]; !known {
		p.tokens[parsed.Headers[0].KeyID] = token
	}
	tokens := []string{token}
	for _, first := range p.tokens {
		tokens = append(tokens, first)
	}
	return tokens
}

// verify discovers the issuer each time, as a cloud does whose cache has just expired. Entra takes RS256 only.
func (p *party) verify(ctx context.Context, token string) error {
	ctx = oidc.ClientContext(ctx, p.c.storage.HTTPClient())
	provider, err := oidc.NewProvider(ctx, p.c.issuer)
	if err != nil {
		return err
	}
	_, err = provider.Verifier(&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256}}).Verify(ctx, token)
	return err
}

func (p *party) seen(key *kube.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, found := p.tokens[key.ID()]
	return found
}

func (p *party) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verified
}

// hold ends it, and holds it to zero failures.
func (p *party) hold(t *testing.T) {
	t.Helper()
	p.stop()
	if len(p.failures) > 0 || len(p.tokens) != 2 {
		t.Errorf("%d of %d verifications failed, of %d keys: %v", len(p.failures), p.verified, len(p.tokens), p.failures[:min(1, len(p.failures))])
	}
	t.Logf("%d verifications, %d failures, %d signing keys", p.verified, len(p.failures), len(p.tokens))
}
