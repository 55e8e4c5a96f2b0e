package chart_test

import (
	"context"
	"fmt"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

const wordAudience = "kube-iam-assume:snapshot-key:0123456789012345678901234567890123456789012"

// An attempt is a way to speak for the cluster that the role "edit" of the namespace would open. All are tried without effect (dry run),
// where there is such a thing.
type attempt struct {
	name   string
	policy string // that refuses it; empty if it must be allowed
	try    func(ctx context.Context) error
}

// attempts: each is refused, by its policy, and what people have to do is not.
func (w *world) attempts(replicas []*pod.Pod) {
	w.Helper()
	for _, a := range w.allAttempts(replicas) {
		err := a.try(w.Context())
		switch {
		case a.policy == "" && err != nil:
			w.Errorf("%s: %v", a.name, err)
		case a.policy != "" && refusedBy(err) != a.policy:
			w.Errorf("%s is not refused by the policy %s: %v", a.name, a.policy, err)
		}
	}
	before := w.replicaSet(namespace, account).Name
	w.helm("upgrade", "exporter", folder, "--namespace", namespace, "--reuse-values", "--set", "pollInterval=2s")
	if after := w.replicaSet(namespace, account).Name; after == before {
		w.Error("an upgrade with other settings leaves the pods as they are")
	}
}

// withoutPolicies tries all again when the bindings are gone: what refused was the policies, and nothing else.
func (w *world) withoutPolicies(replicas []*pod.Pod) {
	w.Helper()
	bindings := w.cluster.Admin(0).AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	if err := bindings.DeleteCollection(w.Context(), meta.DeleteOptions{}, meta.ListOptions{LabelSelector: "app.kubernetes.io/name=" + account}); err != nil {
		w.Fatal(err)
	}
	for _, a := range w.allAttempts(replicas) {
		w.eventually(func(ctx context.Context) error {
			err := a.try(ctx)
			if a.policy == "doors" && refusedBy(err) == "" {
				return nil // there is no kubelet behind the door
			}
			if err != nil {
				return fmt.Errorf("%s is refused without policies: %w", a.name, err)
			}
			return nil
		})
	}
}

func (w *world) allAttempts(replicas []*pod.Pod) []attempt {
	w.Helper()
	eve, impersonator := w.editor()
	running, err := w.cluster.Admin(0).CoreV1().Pods(namespace).Get(w.Context(), replicas[0].Name, meta.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	all := append(w.attemptsAtTokens(eve, impersonator, running), w.attemptsAtPods(eve, running)...)
	return append(all, w.attemptsAtWorkloads(eve)...)
}

// editor is somebody with the role edit in the exporter's namespace, as it is given to teams, and more about pods. Nobody aggregates
// the role here, so its parts are bound.
func (w *world) editor() (eve, impersonating kubernetes.Interface) {
	w.Helper()
	admin := w.cluster.Admin(0)
	if _, err := admin.CoreV1().ServiceAccounts("app").Get(w.Context(), "eve", meta.GetOptions{}); apierrors.IsNotFound(err) {
		w.cluster.CreateServiceAccount(w.T, "app", "eve")
		more := &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "debugger"}, Rules: []rbac.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"pods/ephemeralcontainers"}, Verbs: []string{"update", "patch"}},
		}}
		if _, err := admin.RbacV1().ClusterRoles().Create(w.Context(), more, meta.CreateOptions{}); err != nil {
			w.Fatal(err)
		}
		for _, role := range []string{"system:aggregate-to-edit", "system:aggregate-to-view", "debugger"} {
			binding := &rbac.RoleBinding{
				ObjectMeta: meta.ObjectMeta{GenerateName: "eve-"}, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: role},
				Subjects: []rbac.Subject{{Kind: "ServiceAccount", Namespace: "app", Name: "eve"}},
			}
			if _, err := admin.RbacV1().RoleBindings(namespace).Create(w.Context(), binding, meta.CreateOptions{}); err != nil {
				w.Fatal(err)
			}
		}
	}
	config := w.cluster.TokenConfig(0, w.cluster.Token(w.T, 0, "app", "eve", nil, 600))
	eve = must(kubernetes.NewForConfig(config))
	config = rest.CopyConfig(config)
	config.Impersonate.UserName = "system:serviceaccount:" + namespace + ":" + account
	w.eventually(func(ctx context.Context) error {
		_, err := eve.CoreV1().Pods(namespace).List(ctx, meta.ListOptions{})
		return err
	})
	return eve, must(kubernetes.NewForConfig(config))
}

var dry = []string{meta.DryRunAll}

func (w *world) attemptsAtTokens(eve, impersonating kubernetes.Interface, running *core.Pod) []attempt {
	token := func(client kubernetes.Interface, spec authentication.TokenRequestSpec) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, &authentication.TokenRequest{Spec: spec}, meta.CreateOptions{DryRun: dry})
			return err
		}
	}
	bound := &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: running.Name, UID: running.UID}
	ten, week := int64(600), int64(7*24*3600)
	word := authentication.TokenRequestSpec{Audiences: []string{wordAudience}, ExpirationSeconds: &ten}
	// The exporter's own token, as it is in its pod.
	own := must((&kubelet{client: w.as("system:node:"+node, "system:nodes"), pod: running}).Token(w.Context(), nil, 600))
	exporter := must(kubernetes.NewForConfig(w.cluster.TokenConfig(0, own)))
	kubelets := w.as("kubelet", "system:nodes", "system:masters") // whom NodeRestriction does not know
	secret := func(account string) *core.Secret {
		return &core.Secret{ObjectMeta: meta.ObjectMeta{Name: "t", Annotations: map[string]string{core.ServiceAccountNameKey: account}}, Type: core.SecretTypeServiceAccountToken}
	}
	return []attempt{
		{"a token", "tokens", token(eve, authentication.TokenRequestSpec{})},
		{"a token that vouches", "tokens", token(eve, word)},
		{"a token for a running pod", "tokens", token(eve, authentication.TokenRequestSpec{BoundObjectRef: bound})},
		{"a token that vouches, as the exporter", "tokens", token(impersonating, word)},
		{"a token, as the administrator", "tokens", token(w.cluster.Admin(0), authentication.TokenRequestSpec{})},
		{"a token of the kubelet's that vouches", "tokens", token(kubelets, authentication.TokenRequestSpec{Audiences: word.Audiences, BoundObjectRef: bound})},
		{"a token of the kubelet's for no pod", "tokens", token(kubelets, authentication.TokenRequestSpec{})},
		{"the exporter asks for a cloud's token", "tokens", token(exporter, authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &ten})},
		{"the exporter asks for one that lasts", "tokens", token(exporter, authentication.TokenRequestSpec{Audiences: word.Audiences, ExpirationSeconds: &week})},
		{"the exporter asks for two audiences", "tokens", token(exporter, authentication.TokenRequestSpec{Audiences: []string{wordAudience, audience}, ExpirationSeconds: &ten})},
		{"the exporter's word", "", token(exporter, word)},
		{"a Secret with a token", "secrets", func(ctx context.Context) error {
			_, err := eve.CoreV1().Secrets(namespace).Create(ctx, secret(account), meta.CreateOptions{DryRun: dry})
			return err
		}},
		{"a Secret with somebody else's token", "", func(ctx context.Context) error {
			_, err := eve.CoreV1().Secrets(namespace).Create(ctx, secret("default"), meta.CreateOptions{DryRun: dry})
			return err
		}},
		{"a token of another account", "", func(ctx context.Context) error {
			_, err := eve.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", &authentication.TokenRequest{}, meta.CreateOptions{DryRun: dry})
			return err
		}},
	}
}

func (w *world) attemptsAtPods(eve kubernetes.Interface, running *core.Pod) []attempt {
	create := func(client kubernetes.Interface, change func(*core.Pod)) func(context.Context) error {
		return func(ctx context.Context) error {
			like := running.DeepCopy()
			p := &core.Pod{ObjectMeta: meta.ObjectMeta{Name: account + "-x", Labels: like.Labels, OwnerReferences: like.OwnerReferences}, Spec: like.Spec}
			p.Spec.NodeName, p.Spec.TopologySpreadConstraints = "", nil // as only an API server fills them in
			change(p)
			_, err := client.CoreV1().Pods(namespace).Create(ctx, p, meta.CreateOptions{DryRun: dry})
			return err
		}
	}
	patch := func(body string, subresources ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := eve.CoreV1().Pods(namespace).Patch(ctx, running.Name, types.StrategicMergePatchType, []byte(body), meta.PatchOptions{DryRun: dry}, subresources...)
			return err
		}
	}
	door := func(client kubernetes.Interface, name string) func(context.Context) error {
		return func(ctx context.Context) error {
			return client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(running.Name).SubResource(name).
				Param("command", "/x").Param("container", account).Param("stdout", "true").Do(ctx).Error()
		}
	}
	same := func(*core.Pod) {}
	return []attempt{
		{"a pod", "pods", create(eve, same)},
		{"a pod, as the administrator", "pods", create(w.cluster.Admin(0), same)},
		{"a pod of the Deployment's", "", create(w.controller("replicaset-controller"), same)},
		{"a pod of a Job", "pods", create(w.controller("job-controller"), func(p *core.Pod) { p.OwnerReferences[0].Kind = "Job" })},
		{"a pod of a StatefulSet, where all controllers are one", "pods", create(w.as("system:kube-controller-manager", "system:masters"), func(p *core.Pod) { p.OwnerReferences[0].Kind = "StatefulSet" })},
		{"a pod of another ReplicaSet", "pods", create(w.controller("replicaset-controller"), func(p *core.Pod) { p.OwnerReferences[0].Name = "x" })},
		{"a pod as another account", "", create(eve, func(p *core.Pod) { p.Spec.ServiceAccountName = "default" })},
		{"another image", "pods", patch(`{"spec":{"containers":[{"name":"cluster-exporter","image":"x"}]}}`)},
		{"a label", "", patch(`{"metadata":{"labels":{"a":"b"}}}`)},
		{"a debug container", "pods", patch(`{"spec":{"ephemeralContainers":[{"name":"x","image":"x","targetContainerName":"cluster-exporter","securityContext":{"runAsNonRoot":true,"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}}}]}}`, "ephemeralcontainers")},
		{"exec", "doors", door(eve, "exec")},
		{"attach", "doors", door(eve, "attach")},
		{"exec, as the administrator", "doors", door(w.cluster.Admin(0), "exec")},
	}
}

func (w *world) attemptsAtWorkloads(eve kubernetes.Interface) []attempt {
	admin := w.cluster.Admin(0)
	deployment, err := admin.AppsV1().Deployments(namespace).Get(w.Context(), account, meta.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	patch := func(kind, name, body string, subresources ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			request := eve.AppsV1().RESTClient().Patch(types.StrategicMergePatchType).Namespace(namespace).Resource(kind).Name(name).
				SubResource(subresources...).Param("dryRun", meta.DryRunAll).Body([]byte(body))
			return request.Do(ctx).Error()
		}
	}
	set := func(ctx context.Context) error {
		made := &apps.ReplicaSet{ObjectMeta: meta.ObjectMeta{Name: account + "-x"}, Spec: apps.ReplicaSetSpec{
			Selector: deployment.Spec.Selector, Template: *deployment.Spec.Template.DeepCopy(),
		}}
		_, err := eve.AppsV1().ReplicaSets(namespace).Create(ctx, made, meta.CreateOptions{DryRun: dry})
		return err
	}
	return []attempt{
		{"a Deployment", "workloads", func(ctx context.Context) error {
			made := &apps.Deployment{ObjectMeta: meta.ObjectMeta{Name: "x"}, Spec: deployment.Spec}
			_, err := eve.AppsV1().Deployments(namespace).Create(ctx, made, meta.CreateOptions{DryRun: dry})
			return err
		}},
		{"a ReplicaSet", "workloads", set},
		{"another image of the Deployment", "workloads", patch("deployments", account, `{"spec":{"template":{"spec":{"containers":[{"name":"cluster-exporter","image":"x"}]}}}}`)},
		{"another image of the ReplicaSet", "workloads", patch("replicasets", w.replicaSet(namespace, account).Name, `{"spec":{"template":{"spec":{"containers":[{"name":"cluster-exporter","image":"x"}]}}}}`)},
		{"an annotation of the Deployment", "", patch("deployments", account, `{"metadata":{"annotations":{"a":"b"}}}`)},
		{"fewer replicas", "", patch("deployments", account, `{"spec":{"replicas":1}}`, "scale")},
		{"other settings", "settings", func(ctx context.Context) error {
			_, err := eve.CoreV1().ConfigMaps(namespace).Patch(ctx, account, types.MergePatchType, []byte(`{"data":{"ca.crt":"x"}}`), meta.PatchOptions{DryRun: dry})
			return err
		}},
		{"other settings, in another form", "settings", func(ctx context.Context) error {
			_, err := eve.CoreV1().ConfigMaps(namespace).Patch(ctx, account, types.MergePatchType, []byte(`{"binaryData":{"ca.crt":"eA=="}}`), meta.PatchOptions{DryRun: dry})
			return err
		}},
		{"new settings", "settings", func(ctx context.Context) error {
			if err := eve.CoreV1().ConfigMaps(namespace).Delete(ctx, account, meta.DeleteOptions{DryRun: dry}); err != nil {
				return err
			}
			_, err := eve.CoreV1().ConfigMaps(namespace).Create(ctx, &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: account}}, meta.CreateOptions{DryRun: dry})
			if apierrors.IsAlreadyExists(err) {
				return nil // allowed, and only tried
			}
			return err
		}},
		{"a note on the settings", "", func(ctx context.Context) error {
			_, err := eve.CoreV1().ConfigMaps(namespace).Patch(ctx, account, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), meta.PatchOptions{DryRun: dry})
			return err
		}},
	}
}
