package chart_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// as is a client of whom the administrator takes the place of.
func (w *world) as(user string, groups ...string) kubernetes.Interface {
	w.Helper()
	config := w.cluster.AdminConfig(0)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	return must(kubernetes.NewForConfig(config))
}

func (w *world) controller(name string) kubernetes.Interface {
	w.Helper()
	return w.as("system:serviceaccount:kube-system:"+name, "system:serviceaccounts", "system:serviceaccounts:kube-system")
}

// replicaSet makes what the Deployment controller makes of the Deployment as it is now.
func (w *world) replicaSet(namespace, name string) *apps.ReplicaSet {
	w.Helper()
	deployment, err := w.cluster.Admin(0).AppsV1().Deployments(namespace).Get(w.Context(), name, meta.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	sum := sha256.Sum256(must(json.Marshal(deployment.Spec.Template)))
	hash := hex.EncodeToString(sum[:])[:10]
	set := &apps.ReplicaSet{
		ObjectMeta: meta.ObjectMeta{Name: name + "-" + hash, Labels: deployment.Spec.Template.Labels, OwnerReferences: owned("Deployment", deployment)},
		Spec: apps.ReplicaSetSpec{
			Replicas: deployment.Spec.Replicas, Selector: deployment.Spec.Selector.DeepCopy(), Template: *deployment.Spec.Template.DeepCopy(),
		},
	}
	set.Spec.Selector.MatchLabels["pod-template-hash"] = hash
	set.Spec.Template.Labels["pod-template-hash"] = hash
	made, err := w.controller("deployment-controller").AppsV1().ReplicaSets(namespace).Create(w.Context(), set, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		made, err = w.cluster.Admin(0).AppsV1().ReplicaSets(namespace).Get(w.Context(), set.Name, meta.GetOptions{})
	}
	if err != nil {
		w.Fatalf("the Deployment controller: %v", err)
	}
	return made
}

func owned(kind string, by meta.Object) []meta.OwnerReference {
	yes := true
	return []meta.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: by.GetName(), UID: by.GetUID(), Controller: &yes, BlockOwnerDeletion: &yes}}
}

// newPod makes one pod of a ReplicaSet, as its controller does, and binds it to the node, as the scheduler does.
func (w *world) newPod(set *apps.ReplicaSet) *core.Pod {
	w.Helper()
	p := &core.Pod{
		ObjectMeta: meta.ObjectMeta{
			GenerateName: set.Name + "-", Labels: set.Spec.Template.Labels, Annotations: set.Spec.Template.Annotations, OwnerReferences: owned("ReplicaSet", set),
		},
		Spec: *set.Spec.Template.Spec.DeepCopy(),
	}
	made, err := w.controller("replicaset-controller").CoreV1().Pods(set.Namespace).Create(w.Context(), p, meta.CreateOptions{})
	if err != nil {
		w.Fatalf("the ReplicaSet controller: %v", err)
	}
	w.bind(made)
	return made
}

func (w *world) bind(p *core.Pod) {
	w.Helper()
	to := &core.Binding{ObjectMeta: meta.ObjectMeta{Name: p.Name, UID: p.UID}, Target: core.ObjectReference{Kind: "Node", Name: node}}
	if err := w.as("system:kube-scheduler").CoreV1().Pods(p.Namespace).Bind(w.Context(), to, meta.CreateOptions{}); err != nil {
		w.Fatalf("the scheduler: %v", err)
	}
}

// start runs a pod as the node's kubelet does, and says that it runs, and where.
func (w *world) start(p *core.Pod) *pod.Pod {
	w.Helper()
	nodes := w.as("system:node:"+node, "system:nodes")
	started := pod.Start(w.T, w.machine(w.programs[p.Spec.Containers[0].Name], &kubelet{client: nodes, pod: p}), p)
	ip := w.network.add(started, p.Spec.Containers[0].Ports)
	running := fmt.Sprintf(`{"status":{"phase":"Running","podIP":%q,"podIPs":[{"ip":%q}],"conditions":[{"type":"Ready","status":"True"}]}}`, ip, ip)
	_, err := insist(w.Context(), func() (*core.Pod, error) {
		return nodes.CoreV1().Pods(p.Namespace).Patch(w.Context(), p.Name, types.StrategicMergePatchType, []byte(running), meta.PatchOptions{}, "status")
	})
	if err != nil {
		w.Fatalf("the kubelet: %v", err)
	}
	return started
}

// machine is one in the cluster's network, which API servers and the publisher's host are in too.
func (w *world) machine(program string, source pod.Source) pod.Machine {
	w.Helper()
	routes := map[string]pod.Dial{kube.ServiceAddress: w.dial(kube.ServiceAddress)}
	for _, endpoint := range w.cluster.Endpoints() {
		routes[endpoint] = w.dial(endpoint)
	}
	routes[service] = func(ctx context.Context) (net.Conn, error) { return w.publisher.Dial("https")(ctx) }
	address, _, _ := net.SplitHostPort(service)
	apiHost, apiPort, _ := net.SplitHostPort(kube.ServiceAddress)
	return pod.Machine{
		Entrypoint: program, Source: source, Hosts: map[string]string{host: address}, Routes: routes,
		Environment: []string{"KUBERNETES_SERVICE_HOST=" + apiHost, "KUBERNETES_SERVICE_PORT=" + apiPort},
	}
}

func (w *world) dial(address string) pod.Dial {
	return func(ctx context.Context) (net.Conn, error) { return w.cluster.Dial(ctx, "tcp", address) }
}

// kubelet has the rights of the node, and no others: the API server lets it read only what pods bound to it mention.
type kubelet struct {
	client kubernetes.Interface
	pod    *core.Pod
}

// ConfigMap implements pod.Source.
func (k *kubelet) ConfigMap(ctx context.Context, name string) (map[string]string, error) {
	found, err := insist(ctx, func() (*core.ConfigMap, error) {
		return k.client.CoreV1().ConfigMaps(k.pod.Namespace).Get(ctx, name, meta.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	return found.Data, nil
}

// Secret implements pod.Source.
func (k *kubelet) Secret(ctx context.Context, name string) (map[string][]byte, error) {
	found, err := insist(ctx, func() (*core.Secret, error) {
		return k.client.CoreV1().Secrets(k.pod.Namespace).Get(ctx, name, meta.GetOptions{})
	})
	if err != nil {
		return nil, err
	}
	return found.Data, nil
}

// Token implements pod.Source.
func (k *kubelet) Token(ctx context.Context, audiences []string, seconds int64) (string, error) {
	answer, err := insist(ctx, func() (*authentication.TokenRequest, error) {
		return k.client.CoreV1().ServiceAccounts(k.pod.Namespace).CreateToken(ctx, k.pod.Spec.ServiceAccountName, &authentication.TokenRequest{
			Spec: authentication.TokenRequestSpec{
				Audiences: audiences, ExpirationSeconds: &seconds,
				BoundObjectRef: &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: k.pod.Name, UID: k.pod.UID},
			},
		}, meta.CreateOptions{})
	})
	if err != nil {
		return "", err
	}
	return answer.Status.Token, nil
}

// insist tries again while the API server has not yet seen that the pod is the node's.
func insist[T any](ctx context.Context, request func() (T, error)) (T, error) {
	for try := 0; ; try++ {
		answer, err := request()
		if err == nil || try == 100 || !apierrors.IsForbidden(err) || strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			return answer, err
		}
		if err := pause(ctx); err != nil {
			return answer, err
		}
	}
}

// waitForRights waits until every API server knows the exporter's Roles and the policy about its tokens: each has its own watch.
func (w *world) waitForRights() {
	w.Helper()
	for i := range w.cluster.Servers {
		w.eventually(func(ctx context.Context) error {
			_, err := w.cluster.Admin(i).CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authentication.TokenRequest{}, meta.CreateOptions{})
			if refusedBy(err) != "tokens" {
				return fmt.Errorf("the administrator gets a token: %w", err)
			}
			return nil
		})
		for _, right := range rights {
			w.eventually(func(ctx context.Context) error { return w.allowed(ctx, i, right, true) })
		}
	}
}

// rights are all that the exporter needs.
var rights = []authorization.ResourceAttributes{
	{Namespace: "default", Group: "discovery.k8s.io", Resource: "endpointslices", Verb: "list"},
	{Namespace: namespace, Resource: "serviceaccounts", Subresource: "token", Name: account, Verb: "create"},
	{Namespace: namespace, Resource: "events", Verb: "create"},
}

func (w *world) allowed(ctx context.Context, server int, right authorization.ResourceAttributes, want bool) error {
	review := &authorization.SubjectAccessReview{Spec: authorization.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + namespace + ":" + account, Groups: []string{"system:serviceaccounts", "system:authenticated"}, ResourceAttributes: &right,
	}}
	answer, err := w.cluster.Admin(server).AuthorizationV1().SubjectAccessReviews().Create(ctx, review, meta.CreateOptions{})
	if err == nil && answer.Status.Allowed != want {
		err = fmt.Errorf("server %d: %s of %s: allowed is %v", server, right.Verb, right.Resource, answer.Status.Allowed)
	}
	return err
}

// refusedBy is the end of the name of the chart's policy that refused a request.
func refusedBy(err error) string {
	const policy = "ValidatingAdmissionPolicy '" + namespace + "-" + account + "-"
	if err == nil {
		return ""
	}
	_, rest, found := strings.Cut(err.Error(), policy)
	name, _, _ := strings.Cut(rest, "'")
	if !found || strings.Contains(rest, "resulted in error") {
		return ""
	}
	return name
}
