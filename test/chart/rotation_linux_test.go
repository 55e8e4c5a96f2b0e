package chart_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// rotate changes the cluster's key twice, kills another replica in the middle each time, and counts the tokens that a cloud would not take.
func (w *world) rotate(set *apps.ReplicaSet, replicas []*pod.Pod) {
	w.Helper()
	a, b, c := w.cluster.Servers[0].Config().Keys.Sign, kube.NewKey(w.T, kube.P256), kube.NewKey(w.T, kube.RSA2048)

	// With notice: every API server lists the new key before one signs with it. No token may fail.
	tokens := w.watch()
	w.restart(0, w.config(0, a, b))
	w.lose(replicas[0])
	began := time.Now()
	w.waitPublished(b.ID(), "graceful, replica 1 killed", began)
	replicas[0] = w.start(w.newPod(set))
	w.restart(1, w.config(1, b, a))
	w.restart(0, w.config(0, b, a))
	verified, failed := tokens.end()
	w.Logf("graceful rotation: %d tokens accepted, %d refused", verified, len(failed))
	if len(failed) > 0 || verified < 20 {
		w.Errorf("%d tokens accepted, refused: %v", verified, failed)
	}
	w.waitLog(replicas[0], "the publisher accepted the snapshot")
	w.renew(replicas...)

	// In one step and without notice: the new key signs, and nobody lists the old one. Whoever was believed before brings it in.
	began = time.Now()
	w.restart(0, w.config(0, c))
	w.lose(replicas[1])
	w.restart(1, w.config(1, c))
	w.renew(replicas[0])
	w.waitPublished(c.ID(), "one step, replica 2 killed", began)
	for _, key := range []*kube.Key{a, b} {
		if err := w.published(w.Context(), key.ID()); err != nil {
			w.Errorf("an old key is lost: %v", err)
		}
	}
	replicas[1] = w.start(w.newPod(set))
	w.waitLog(replicas[1], "the publisher accepted the snapshot", c.ID())
}

// restart is remembered with its time: what is refused meanwhile is no fault.
type restart struct {
	server int
	began  time.Time
	ready  time.Time
}

func (w *world) restart(server int, config kube.Config) {
	w.Helper()
	began := time.Now()
	w.cluster.Servers[server].Restart(w.T, config)
	w.restarts = append(w.restarts, restart{server, began, time.Now()})
}

// lose ends a pod as the end of its node does, and removes it, as kube-controller-manager does then.
func (w *world) lose(p *pod.Pod) {
	w.Helper()
	p.Kill()
	now := int64(0)
	if err := w.cluster.Admin(0).CoreV1().Pods(namespace).Delete(w.Context(), p.Name, meta.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		w.Fatal(err)
	}
}

// renew gives pods new tokens, as the kubelet does, when the servers sign with another key.
func (w *world) renew(pods ...*pod.Pod) {
	w.Helper()
	for _, p := range pods {
		w.eventually(p.Renew)
	}
}

func (w *world) waitPublished(id, what string, since time.Time) {
	w.Helper()
	w.eventually(func(ctx context.Context) error { return w.published(ctx, id) })
	w.Logf("%s: published after %s", what, time.Since(since).Round(10*time.Millisecond))
}

// watch has workloads' tokens verified all the time, as a cloud does.
type watch struct {
	stop     context.CancelFunc
	done     sync.WaitGroup
	mu       sync.Mutex
	verified int
	failed   []error
}

func (w *world) watch() *watch {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	k := &watch{stop: cancel}
	w.Cleanup(cancel)
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(ctx, w.client()), issuer+"/openid/v1/jwks")
	verifier := oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}})
	for i := range w.cluster.Servers {
		k.done.Go(func() {
			for ctx.Err() == nil {
				k.once(ctx, w, i, verifier)
				_ = pause(ctx) // the loop's condition sees it
			}
		})
	}
	return k
}

func (k *watch) once(ctx context.Context, w *world, server int, verifier *oidc.IDTokenVerifier) {
	seconds := int64(600)
	answer, err := w.cluster.Admin(server).CoreV1().ServiceAccounts("app").CreateToken(ctx, "payments", &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, meta.CreateOptions{})
	if err != nil {
		return // the server is being restarted: nobody has a token
	}
	_, err = verifier.Verify(ctx, answer.Status.Token)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.verified++
	case ctx.Err() == nil:
		k.failed = append(k.failed, fmt.Errorf("server %d: %w", server, err))
	}
}

func (k *watch) end() (verified int, failed []error) {
	k.stop()
	k.done.Wait()
	return k.verified, k.failed
}
