package chart_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

// The chart is installed by Helm in a cluster with two API servers; its pods do their work through rotations, with just the rights they have.
func TestInstalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.publisher = w.start(w.newPod(w.replicaSet("publisher", "publisher")))
	w.waitLog(w.publisher, "server.listening")
	w.waitForRights()
	set := w.replicaSet(namespace, account)
	var replicas []*pod.Pod
	for range *set.Spec.Replicas {
		replicas = append(replicas, w.start(w.newPod(set)))
	}
	if len(replicas) != 2 {
		t.Fatalf("%d replicas", len(replicas))
	}
	for _, r := range replicas {
		w.waitLog(r, "the publisher accepted the snapshot")
		w.answers(r, "/healthz", "/readyz")
	}
	w.publisherAnswers()
	w.alertsAreAboutMetrics(replicas[0])
	w.takesExamples()
	w.rotate(set, replicas)
	w.rightsAreUsed(set.Namespace)
	w.helmTest()
	w.attempts(replicas)
	w.everyRightIsNeeded(set)
	w.withoutPolicies(replicas)
	w.uninstall()
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

// request is one in the audit log.
type request struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	ResponseStatus struct{ Code int }
	Annotations    map[string]string `json:"annotations"`
}

// rightsAreUsed compares what the exporters did with what their Roles list: nothing was denied for long, and nothing is listed that is not used.
func (w *world) rightsAreUsed(namespace string) {
	w.Helper()
	used, paths, early := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, r := range w.audit() {
		into := used
		if r.ObjectRef == nil {
			into = paths
		}
		switch decision := r.Annotations["authorization.k8s.io/decision"]; {
		case decision == "forbid":
			into = early // an API server that began before it had read its Roles, and who has them
		case decision != "allow" || r.ResponseStatus.Code == http.StatusForbidden:
			w.Errorf("%s %s was answered %d: %v", r.Verb, r.RequestURI, r.ResponseStatus.Code, r.Annotations)
		}
		into[r.right()] = true
	}
	for denied := range early {
		if !used[denied] && !paths[denied] {
			w.Errorf("denied, and never allowed: %s", denied)
		}
	}
	listed := map[string]bool{}
	for space, name := range map[string]string{"default": namespace + "-" + account, namespace: account} {
		role, err := w.cluster.Admin(0).RbacV1().Roles(space).Get(w.Context(), name, meta.GetOptions{})
		if err != nil {
			w.Fatal(err)
		}
		for _, rule := range role.Rules {
			maps.Copy(listed, flat(space, rule))
		}
	}
	if !maps.Equal(used, listed) {
		w.Errorf("the Roles list\n%s\nused is\n%s", sorted(listed), sorted(used))
	}
	if want := "get /.well-known/openid-configuration\nget /openid/v1/jwks"; sorted(paths) != want {
		w.Errorf("paths: %s", sorted(paths))
	}
}

// right is what a request needs: in the words of a Role, or a path.
func (r request) right() string {
	o := r.ObjectRef
	if o == nil {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return r.Verb + " " + path
	}
	name := ""
	if o.Subresource != "" {
		name = o.Name
	}
	return right(o.Namespace, r.Verb, o.APIGroup, strings.TrimSuffix(o.Resource+"/"+o.Subresource, "/"), name)
}

func right(namespace, verb, group, resource, name string) string {
	return fmt.Sprintf("in %s: %s %s.%s %s", namespace, verb, resource, group, name)
}

// flat names each single right of a rule.
func flat(namespace string, rule rbac.PolicyRule) map[string]bool {
	all := map[string]bool{}
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	for _, verb := range rule.Verbs {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range names {
					all[right(namespace, verb, group, resource, name)] = true
				}
			}
		}
	}
	return all
}

func sorted(set map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(set)), "\n")
}

// audit is all that the exporter asked the API servers.
func (w *world) audit() []request {
	w.Helper()
	var all []request
	for i := range w.cluster.Servers {
		data, err := os.ReadFile(w.auditLog(i))
		if err != nil {
			w.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		for {
			var r request
			err := decoder.Decode(&r)
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				break // the last line may be half written
			}
			if err != nil {
				w.Fatal(err)
			}
			all = append(all, r)
		}
	}
	if len(all) < 10 {
		w.Fatalf("only %d requests in the audit logs", len(all))
	}
	return all
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
