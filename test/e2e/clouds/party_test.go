package clouds

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const audience = "vault"

// party is a relying party: an independent verifier that knows the issuer's URL and nothing else.
type party struct {
	w    *world
	stop func()

	mu       sync.Mutex
	verified int
	failures []error
	tokens   map[string]string // key ID → the first token of it, which must go on being accepted
}

// rely mints a token every 100 ms, and verifies it and the first of every key.
func (w *world) rely(cluster *kube.Cluster) *party {
	w.Helper()
	p := &party{w: w, tokens: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ticks := time.NewTicker(100 * time.Millisecond); ctx.Err() == nil; <-ticks.C {
			p.round(ctx, cluster)
		}
	}()
	p.stop = sync.OnceFunc(func() { cancel(); <-done })
	w.Cleanup(p.stop)
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
	id := keyID(answer.Status.Token)
	p.mu.Lock()
	if _, known := p.tokens[id]; !known {
		p.tokens[id] = answer.Status.Token
	}
	tokens := []string{answer.Status.Token}
	for _, first := range p.tokens {
		tokens = append(tokens, first)
	}
	p.mu.Unlock()
	for _, token := range tokens {
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

// verify discovers the issuer each time, as a cloud does whose cache has just expired.
func (p *party) verify(ctx context.Context, token string) error {
	ctx = oidc.ClientContext(ctx, p.w.stranger)
	provider, err := oidc.NewProvider(ctx, p.w.issuer())
	if err != nil {
		return err
	}
	_, err = provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token)
	return err
}

// verifyAt verifies by the keys that one of the clouds has.
func (p *party) verifyAt(ctx context.Context, cloud, token string) error {
	ctx = oidc.ClientContext(ctx, p.w.stranger)
	keys := oidc.NewRemoteKeySet(ctx, p.w.documentsOf(cloud)+jwksPath)
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}}
	_, err := oidc.NewVerifier(p.w.issuer(), keys, config).Verify(ctx, token)
	return err
}

func keyID(token string) string {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		panic(err)
	}
	return parsed.Headers[0].KeyID
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

// hold ends it, and holds it to zero failures at the issuer, and now at every mirror.
func (p *party) hold() {
	p.w.Helper()
	p.stop()
	if len(p.failures) > 0 || len(p.tokens) != 2 {
		p.w.Errorf("%d of %d verifications failed, of %d keys: %v", len(p.failures), p.verified, len(p.tokens), errors.Join(p.failures...))
	}
	for _, cloud := range clouds {
		for id, token := range p.tokens {
			if err := p.verifyAt(p.w.Context(), cloud, token); err != nil {
				p.w.Error(fmt.Errorf("by the documents of %s, a token of key %s: %w", cloud, id, err))
			}
		}
	}
	p.w.Logf("%d verifications, %d failures, %d signing keys", p.verified, len(p.failures), len(p.tokens))
}
