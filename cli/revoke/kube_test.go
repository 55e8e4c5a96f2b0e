package revoke

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const issuer = "https://oidc.example.com/prod-eu1"

// On real API servers: as long as one of them signs with the key, revoking it wants to be meant; then the pods that may hold its tokens are found.
func TestStillSigns(t *testing.T) {
	t.Parallel()
	old, next := kube.NewKey(t, kube.P256), kube.NewKey(t, kube.P256)
	c := kube.Start(t, kube.Options{APIServers: 2, Issuer: issuer, Keys: kube.Keys{Sign: old}})
	c.CreateServiceAccount(t, "default", "default")
	c.CreateServiceAccount(t, "production", "payments")
	run(t, c, "payments-1", time.Now().Add(-time.Hour))
	flags := &clusterFlags{account: "default/default", config: c.AdminConfig(0)}
	statement := rotation.Statement{Issuer: issuer, Cluster: "prod-eu1", Action: rotation.Revoke, KeyIDs: []string{old.ID()}}

	considered := func() (string, error) {
		var out bytes.Buffer
		r := &revocation{Conversation: publishers.Conversation{Statement: statement, Out: &out}, options: &options{}}
		r.holders = flags.look(t.Context(), statement)
		err := r.consider(statement.KeyIDs)
		return out.String(), err
	}
	if out, err := considered(); !errors.Is(err, ErrStillSigns) || !strings.Contains(out, "THE KEY STILL SIGNS at "+c.Endpoints()[0]+", "+c.Endpoints()[1]) {
		t.Errorf("both sign with it: %v\n%s", err, out)
	}
	both := kube.Config{Keys: kube.Keys{Sign: next, Verify: []*kube.Key{old, next}}, Issuers: []string{issuer}}
	c.Servers[0].Restart(t, both)
	c.WaitForEndpoints(t, 0, 1)
	if out, err := considered(); !errors.Is(err, ErrStillSigns) || strings.Contains(out, ", ") && strings.Contains(out, c.Endpoints()[0]+", "+c.Endpoints()[1]) {
		t.Errorf("one signs with it: %v\n%s", err, out)
	}
	c.Servers[1].Restart(t, both)
	c.WaitForEndpoints(t, 0, 1)
	if out, err := considered(); err != nil || out != "" {
		t.Errorf("none signs with it: %v\n%s", err, out)
	}

	run(t, c, "payments-2", time.Now().Add(time.Hour)) // by a clock that is ahead: it began after the key stopped signing
	h := flags.look(t.Context(), statement)
	if h.Problem != "" || h.PodsProblem != "" || h.SecretsProblem != "" || len(h.Pods) != 1 || h.Pods[0].Pod != "production/payments-1" {
		t.Errorf("%+v", h)
	}
	if h := flags.look(t.Context(), rotation.Statement{Issuer: "https://elsewhere.example.com"}); !strings.Contains(h.Problem, "the issuer "+issuer+": it is not this cluster") {
		t.Errorf("another cluster: %+v", h)
	}
}

// run is what scheduler and kubelet leave of a pod that runs.
func run(t *testing.T, c *kube.Cluster, name string, started time.Time) {
	t.Helper()
	p := pod(name, started, core.PodRunning, projected("sts.amazonaws.com", 3600))
	p.Spec.Containers = []core.Container{{Name: "app", Image: "app"}}
	p.Spec.Volumes[0].Name = "token"
	p.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.Path = "token"
	status := p.Status
	pods := c.Admin(0).CoreV1().Pods("production")
	made, err := pods.Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made.Status = status
	if _, err := pods.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
