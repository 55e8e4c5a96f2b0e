package e2e

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// watch mints a token at every API server that answers, over and over, and has a consumer verify it, and with it every token
// that was minted before.
type watch struct {
	stop func()

	mu       sync.Mutex
	verified int
	failures []failure
	first    map[string]time.Time // key ID → when its first token was seen
	byKey    map[string]string    // key ID → a token of it, which must go on being accepted
}

type failure struct {
	at    time.Time
	keyID string
	err   error
}

func (w *world) watch(c *kube.Cluster, consumers ...*consumer) *watch {
	w.Helper()
	k := &watch{first: map[string]time.Time{}, byKey: map[string]string{}}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	var all sync.WaitGroup
	for i := range c.Servers {
		all.Go(func() {
			for ctx.Err() == nil {
				k.round(ctx, c, i, consumers)
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	k.stop = sync.OnceFunc(func() { cancel(); all.Wait() })
	w.Cleanup(k.stop)
	return k
}

func (k *watch) round(ctx context.Context, c *kube.Cluster, server int, consumers []*consumer) {
	token, err := mint(ctx, c, server)
	if err != nil {
		return // the server is being restarted; nobody got a token
	}
	id := keyID(token)
	k.mu.Lock()
	if k.first[id].IsZero() {
		k.first[id] = time.Now()
		k.byKey[id] = token
	}
	tokens := []string{token}
	for _, old := range k.byKey {
		tokens = append(tokens, old)
	}
	k.mu.Unlock()
	for _, token := range tokens {
		err := verifyAny(ctx, consumers, token)
		if ctx.Err() != nil {
			return
		}
		k.mu.Lock()
		k.verified++
		if err != nil {
			k.failures = append(k.failures, failure{time.Now(), keyID(token), err})
		}
		k.mu.Unlock()
	}
}

// verifyAny has the consumer of the token's issuer verify it.
func verifyAny(ctx context.Context, consumers []*consumer, token string) (err error) {
	for _, c := range consumers {
		if err = c.verify(ctx, token); err == nil {
			return nil
		}
	}
	return err
}

func mint(ctx context.Context, c *kube.Cluster, server int) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	seconds := int64(600)
	answer, err := c.Admin(server).CoreV1().ServiceAccounts("app").CreateToken(ctx, "payments", &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

// noFailures stops the watch and holds it to zero.
func (k *watch) noFailures(t *testing.T) {
	t.Helper()
	k.stop()
	if len(k.failures) > 0 || k.verified == 0 {
		t.Errorf("%d of %d verifications failed, the first: %s", len(k.failures), k.verified, k.failures[:min(1, len(k.failures))])
	}
	t.Logf("%d verifications, %d failures, %d signing keys", k.verified, len(k.failures), len(k.first))
}

func (f failure) String() string {
	return fmt.Sprintf("key %s at %s: %v", f.keyID, f.at.Format(time.TimeOnly), f.err)
}

func certificatePEM(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func (w *world) roots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(w.web.Certificate())
	return roots
}

func decodePart(part string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(part) }
