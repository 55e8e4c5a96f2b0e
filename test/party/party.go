// Package party is a relying party: an independent verifier of a cluster's tokens that knows the issuer's URL and nothing else. It verifies
// all the time, also while keys rotate.
package party

import (
	"context"
	"net/http"
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

// The workload whose tokens are verified. The test creates it.
const (
	Namespace = "production"
	Account   = "payments"
)

// Options say what is relied on.
type Options struct {
	Issuer     string
	Audience   string
	Client     *http.Client
	Algorithms []string // that it takes; nil for those of the discovery document

	// Verify, if there is one, is asked in place of an OpenID Connect verifier.
	Verify func(token string) error
}

// Party verifies until Hold, or until the test ends.
type Party struct {
	t       testing.TB
	cluster *kube.Cluster
	options Options
	stop    func()

	mu       sync.Mutex
	verified int
	failures []error
	tokens   map[string]string // key ID → the first token of it, which must go on being accepted
}

// Rely has the first API server mint a token every 100 ms, and verifies it and the first one of every key.
func Rely(t testing.TB, cluster *kube.Cluster, options Options) *Party {
	t.Helper()
	p := &Party{t: t, cluster: cluster, options: options, tokens: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for ; ctx.Err() == nil; <-ticks.C {
			p.round(ctx)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(p.stop)
	return p
}

func (p *Party) round(ctx context.Context) {
	seconds := int64(600)
	minting, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := p.cluster.Admin(0).CoreV1().ServiceAccounts(Namespace).CreateToken(minting, Account, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{p.options.Audience}, ExpirationSeconds: &seconds},
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
func (p *Party) remember(token string) []string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		p.t.Errorf("the API server's token: %v", err)
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

// verify discovers the issuer each time, as a cloud does whose cache has just expired.
func (p *Party) verify(ctx context.Context, token string) error {
	if p.options.Verify != nil {
		return p.options.Verify(token)
	}
	ctx = oidc.ClientContext(ctx, p.options.Client)
	provider, err := oidc.NewProvider(ctx, p.options.Issuer)
	if err != nil {
		return err
	}
	config := &oidc.Config{ClientID: p.options.Audience, SupportedSigningAlgs: p.options.Algorithms}
	_, err = provider.Verifier(config).Verify(ctx, token)
	return err
}

// Seen is whether a key has signed a token that was verified.
func (p *Party) Seen(key *kube.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, found := p.tokens[key.ID()]
	return found
}

// Verified is how many verifications there were.
func (p *Party) Verified() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.verified
}

// Hold ends it, and holds it to zero failures over so many signing keys. It returns a token of each, by the key's ID.
func (p *Party) Hold(keys int) (tokens map[string]string) {
	p.t.Helper()
	p.stop()
	if len(p.failures) > 0 || len(p.tokens) != keys {
		p.t.Errorf("%d of %d verifications failed, of %d keys: %v", len(p.failures), p.verified, len(p.tokens), p.failures[:min(1, len(p.failures))])
	}
	p.t.Logf("%d verifications, %d failures, %d signing keys", p.verified, len(p.failures), len(p.tokens))
	return p.tokens
}
