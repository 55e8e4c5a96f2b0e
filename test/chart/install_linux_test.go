package chart_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// The chart is installed by Helm in a cluster with two API servers; its pods do their work through rotations, with just the rights they have.
func TestInstalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	key := kube.NewKey(t, kube.RSA2048)
	w.begin(enrolled(must(jwks.New(key.Public()))), w.config(0, key), w.config(1, key))
	w.publisher = w.start(w.newPod(w.replicaSet("publisher", "publisher")))
	w.waitLog(w.publisher, "server.listening")
	w.waitForRights()
	set := w.replicaSet(namespace, account)
	replicas := w.startReplicas(set)
	w.publisherAnswers()
	w.alertsAreAboutMetrics(replicas[0])
	w.takesExamples()
	w.rotate(set, replicas)
	w.rightsAreUsed(set.Namespace)
	w.helmTest()
	w.doctorFindsNothing(replicas)
	w.doctorFindsAMissingRight()
	w.enrollReads(false, w.cluster.Servers[0].Config().Keys.Sign.ID())
	w.attempts(replicas)
	w.everyRightIsNeeded(set)
	w.withoutPolicies(replicas)
	w.uninstall()
}

// startReplicas runs as many pods as the Deployment wants, and waits until each has delivered.
func (w *world) startReplicas(set *apps.ReplicaSet) []*pod.Pod {
	w.Helper()
	var replicas []*pod.Pod
	for range *set.Spec.Replicas {
		replicas = append(replicas, w.start(w.newPod(set)))
	}
	if len(replicas) != 2 {
		w.Fatalf("%d replicas", len(replicas))
	}
	for _, r := range replicas {
		w.waitLog(r, "the publisher accepted the snapshot")
		w.answers(r, "/healthz", "/readyz")
	}
	return replicas
}

// answers asks what the probes of the Deployment ask.
func (w *world) answers(p *pod.Pod, paths ...string) {
	w.Helper()
	for _, path := range paths {
		w.eventually(func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pod"+path, http.NoBody)
			if err != nil {
				return err
			}
			response, err := p.Client("metrics").Do(request)
			if err == nil {
				defer response.Body.Close()
				if response.StatusCode != http.StatusOK {
					err = fmt.Errorf("%s: %s", path, response.Status)
				}
			}
			return err
		})
	}
}

func (w *world) publisherAnswers() {
	w.Helper()
	for _, path := range []string{"https://" + host + "/healthz", issuer + "/.well-known/openid-configuration"} {
		request, err := http.NewRequestWithContext(w.Context(), http.MethodGet, path, http.NoBody)
		if err != nil {
			w.Fatal(err)
		}
		response, err := w.client().Do(request)
		if err != nil {
			w.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			w.Errorf("%s: %s", path, response.Status)
		}
	}
}

// helmTest runs `helm test`, whose pod this test runs.
func (w *world) helmTest() {
	w.Helper()
	ended := make(chan error, 1)
	var out, problems string
	go func() {
		var err error
		out, problems, err = tool(w.T, "helm", "test", "exporter", "--namespace", namespace, "--kubeconfig", w.kubeconfig, "--timeout", "1m")
		ended <- err
	}()
	var check *core.Pod
	w.eventually(func(ctx context.Context) (err error) {
		check, err = w.cluster.Admin(0).CoreV1().Pods(namespace).Get(ctx, account+"-check", meta.GetOptions{})
		return err
	})
	w.bind(check)
	running := w.start(check)
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	succeeded, err := running.Wait(ctx)
	if err != nil {
		w.Fatal(err)
	}
	if !succeeded || !strings.Contains(running.Output(w.T), "The settings are right: cluster prod, issuer "+issuer) {
		w.Errorf("the check says: %s", running.Output(w.T))
	}
	done := []byte(`{"status":{"phase":"Succeeded"}}`)
	nodes := w.as("system:node:"+node, "system:nodes").CoreV1().Pods(namespace)
	if _, err := nodes.Patch(w.Context(), check.Name, types.MergePatchType, done, meta.PatchOptions{}, "status"); err != nil {
		w.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			w.Errorf("helm test: %v\n%s%s", err, out, problems)
		}
	case <-time.After(patience):
		w.Fatal("helm test does not end")
	}
}
