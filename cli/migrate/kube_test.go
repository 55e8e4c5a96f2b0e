package migrate_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/cli/migrate"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// live is a real API server with a cluster's objects in it.
type live struct {
	*testing.T
	cluster    *kube.Cluster
	kubeconfig string
	rest       rest.Interface
}

// paths are where objects of a kind are made. %s is the namespace.
var paths = map[string]string{
	"Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/%s/serviceaccounts", "Pod": "/api/v1/namespaces/%s/pods",
	"Deployment": "/apis/apps/v1/namespaces/%s/deployments", "StatefulSet": "/apis/apps/v1/namespaces/%s/statefulsets", "DaemonSet": "/apis/apps/v1/namespaces/%s/daemonsets",
	"CronJob": "/apis/batch/v1/namespaces/%s/cronjobs", "Job": "/apis/batch/v1/namespaces/%s/jobs",
	"CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "AWSIAMRole": "/apis/zalando.org/v1/namespaces/%s/awsiamroles",
}

func path(kind, namespace string) string { return strings.ReplaceAll(paths[kind], "%s", namespace) }

// create makes an object; one that is there already is as good.
func (l *live) create(object []byte) {
	l.Helper()
	var o struct {
		Kind     string
		Metadata meta.ObjectMeta
	}
	if err := json.Unmarshal(object, &o); err != nil {
		l.Fatal(err)
	}
	if paths[o.Kind] == "" {
		l.Fatalf("no path for kind %q", o.Kind)
	}
	if err := l.rest.Post().AbsPath(path(o.Kind, o.Metadata.Namespace)).SetHeader("Content-Type", "application/json").Body(object).Do(l.Context()).Error(); err != nil {
		l.Fatalf("%s %s: %v", o.Kind, o.Metadata.Name, err)
	}
}

func (l *live) createFile(file string) {
	l.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		l.Fatal(err)
	}
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		object, err := yaml.YAMLToJSON([]byte(document))
		if err != nil {
			l.Fatal(err)
		}
		l.create(object)
	}
}

func (l *live) plan(args string) *migrate.Plan {
	l.Helper()
	out, err := plan(args + " -o json --kubeconfig " + l.kubeconfig)
	var p migrate.Plan
	if decoded := json.Unmarshal([]byte(out), &p); decoded != nil {
		l.Fatal(decoded, err)
	}
	if (len(p.Decisions) > 0) != errors.Is(err, migrate.ErrDecisions) {
		l.Errorf("decisions %+v, error %v", p.Decisions, err)
	}
	return &p
}

// spec is what an object says of its pods, as the API server has it.
func (l *live) spec(w migrate.Workload) any {
	l.Helper()
	data, err := l.rest.Get().AbsPath(path(w.Kind, w.Namespace), w.Name).Do(l.Context()).Raw()
	var o struct{ Spec any }
	if err == nil {
		err = json.Unmarshal(data, &o)
	}
	if err != nil {
		l.Fatal(err)
	}
	return o.Spec
}

func (l *live) patch(w migrate.Workload, patch json.RawMessage) {
	l.Helper()
	if len(patch) == 0 {
		l.Fatalf("%s has no patch", w.ID)
	}
	if err := l.rest.Patch(types.StrategicMergePatchType).AbsPath(path(w.Kind, w.Namespace), w.Name).Body([]byte(patch)).Do(l.Context()).Error(); err != nil {
		l.Fatalf("%s: %v\n%s", w.ID, err, patch)
	}
}

// replace makes an object anew, as kubectl replace --force does.
func (l *live) replace(w migrate.Workload, object json.RawMessage) {
	l.Helper()
	l.remove(w)
	l.create(object)
}

func (l *live) remove(w migrate.Workload) {
	l.Helper()
	now, background := int64(0), meta.DeletePropagationBackground
	options, err := json.Marshal(meta.DeleteOptions{TypeMeta: meta.TypeMeta{Kind: "DeleteOptions", APIVersion: "v1"}, GracePeriodSeconds: &now, PropagationPolicy: &background})
	if err != nil {
		l.Fatal(err)
	}
	if err := l.rest.Delete().AbsPath(path(w.Kind, w.Namespace), w.Name).Body(options).Do(l.Context()).Error(); err != nil {
		l.Fatal(err)
	}
}

// template is the pod template in an object's spec.
func (l *live) template(w migrate.Workload) core.PodTemplateSpec {
	l.Helper()
	spec := l.spec(w).(map[string]any)
	if w.Kind == "Pod" {
		spec = map[string]any{"template": map[string]any{"spec": spec}}
	}
	if w.Kind == "CronJob" {
		spec = spec["jobTemplate"].(map[string]any)["spec"].(map[string]any)
	}
	data, err := json.Marshal(spec["template"])
	var template core.PodTemplateSpec
	if err == nil {
		err = json.Unmarshal(data, &template)
	}
	if err != nil {
		l.Fatal(err)
	}
	return template
}

// runs makes a pod of what a workload says now, as its controller would, and the API server judges it. A Pod is one already.
func (l *live) runs(w migrate.Workload) {
	l.Helper()
	template := l.template(w)
	made, pods := &core.Pod{Spec: template.Spec}, l.cluster.Admin(0).CoreV1().Pods(w.Namespace)
	if w.Kind != "Pod" {
		var err error
		made, err = pods.Create(l.Context(), &core.Pod{ObjectMeta: meta.ObjectMeta{GenerateName: "tried-", Annotations: template.Annotations}, Spec: template.Spec}, meta.CreateOptions{})
		if err != nil {
			l.Fatalf("%s: the API server refuses its pod: %v", w.ID, err)
		}
		if err := pods.Delete(l.Context(), made.Name, *meta.NewDeleteOptions(0)); err != nil {
			l.Fatal(err)
		}
	}
	if made.Spec.ServiceAccountName != w.ServiceAccount.Name {
		l.Errorf("%s runs as %s, want %s", w.ID, made.Spec.ServiceAccountName, w.ServiceAccount.Name)
	}
	audience := ""
	for _, v := range made.Spec.Volumes {
		if v.Name == "aws-token" && v.Projected != nil && v.Projected.Sources[0].ServiceAccountToken != nil {
			audience = v.Projected.Sources[0].ServiceAccountToken.Audience
		}
	}
	if audience != "sts.amazonaws.com" {
		l.Errorf("%s: the token is for %q", w.ID, audience)
	}
	for _, c := range append(made.Spec.InitContainers, made.Spec.Containers...) {
		got := map[string]string{}
		for _, v := range c.Env {
			got[v.Name] = v.Value
		}
		if got["AWS_ROLE_ARN"] != w.Role || got["AWS_WEB_IDENTITY_TOKEN_FILE"] != "/var/run/secrets/aws/token" || got["AWS_SHARED_CREDENTIALS_FILE"] != "" {
			l.Errorf("%s, container %s: %v", w.ID, c.Name, got)
		}
	}
}

// A real API server takes every step there and every step back.
func TestOnARealAPIServer(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.Options{Issuer: "https://oidc.example.com/prod"})
	l := &live{T: t, cluster: c, kubeconfig: c.Kubeconfig(t, 0), rest: c.Admin(0).Discovery().RESTClient()}
	l.createFile("testdata/live/crd.yaml")
	for _, source := range []string{"kube2iam", "kiam", "kube-aws-iam-controller"} {
		l.createFile(filepath.Join("testdata/live", source+".yaml"))
		l.thereAndBack(source + " --account 111122223333")
	}
}

func (l *live) thereAndBack(args string) {
	l.Helper()
	first := l.plan(args)
	if len(first.Decisions) > 0 || len(first.Workloads) < 2 || first.Issuer != "https://oidc.example.com/prod" {
		l.Fatalf("%s: %+v", args, first)
	}
	before := map[string]any{}
	for _, w := range first.Workloads {
		before[w.ID] = l.spec(w)
	}
	for _, a := range first.Accounts {
		if a.Make {
			object, err := json.Marshal(a.Manifest)
			if err != nil {
				l.Fatal(err)
			}
			l.create(object)
		}
	}
	for _, w := range first.Workloads {
		if w.Replacement != nil {
			l.replace(w, w.Replacement)
		} else {
			l.patch(w, w.Switch)
		}
		l.runs(w)
	}

	second := l.plan(args)
	for _, w := range second.Workloads {
		if w.Switch != nil || w.Replacement != nil || w.Finish == nil {
			l.Errorf("%s is switched already, and the second plan says %s%s", w.ID, w.Switch, w.Replacement)
		}
	}
	if now, before := length(l.T, second), length(l.T, first); now >= before || second.Closing.Ready {
		l.Errorf("%s: the second plan has %d characters, the first had %d; ready: %v", args, now, before, second.Closing.Ready)
	}
	for _, a := range second.Accounts {
		if a.Make {
			l.Errorf("%s is made already", a.ServiceAccount)
		}
	}
	for _, w := range second.Workloads {
		l.patch(w, w.Finish)
		l.runs(w)
	}
	if third := l.plan(args); len(third.Workloads) > 0 || !third.Closing.Ready || len(third.Closing.Actions) == 0 {
		l.Errorf("%s: nothing is left to do, and the third plan has %d workloads, %+v", args, len(third.Workloads), third.Closing)
	}
	l.back(first, before)
}

func length(t *testing.T, p *migrate.Plan) int {
	t.Helper()
	var text strings.Builder
	if err := p.Text(&text); err != nil {
		t.Fatal(err)
	}
	return text.Len()
}

// back goes the way back from the end, and compares what there was.
func (l *live) back(first *migrate.Plan, before map[string]any) {
	l.Helper()
	for _, w := range first.Workloads {
		if w.Original != nil {
			l.replace(w, w.Original)
			if name := l.template(w).Spec.ServiceAccountName; name == w.ServiceAccount.Name {
				l.Errorf("%s runs as %s still", w.ID, name)
			}
			l.remove(w)
			continue
		}
		l.patch(w, w.UndoFinish)
		l.patch(w, w.UndoSwitch)
		if difference := cmp.Diff(before[w.ID], l.spec(w)); difference != "" {
			l.Errorf("%s is not what it was: %s", w.ID, difference)
		}
		l.remove(w)
	}
}
