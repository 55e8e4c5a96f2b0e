//go:build e2e_aws

package firstinstall

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
)

// startExporter makes a pod of the Deployment, which controllers and scheduler do in a cluster, and runs it as the kubelet does.
func (i *install) startExporter() *pod.Pod {
	i.Helper()
	admin := i.cluster.Admin(0)
	authority := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": string(i.cluster.CA)}}
	_, err := admin.CoreV1().ConfigMaps(namespace).Create(i.Context(), authority, meta.CreateOptions{})
	var deployment *apps.Deployment
	if err == nil {
		deployment, err = admin.AppsV1().Deployments(namespace).Get(i.Context(), account, meta.GetOptions{})
	}
	if err != nil {
		i.Fatal(err)
	}
	template := deployment.Spec.Template
	owner := meta.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: account + "-1", UID: deployment.UID, Controller: new(true)}
	described := &core.Pod{
		ObjectMeta: meta.ObjectMeta{
			GenerateName: account + "-1-", Labels: template.Labels, Annotations: template.Annotations, OwnerReferences: []meta.OwnerReference{owner},
		},
		Spec: template.Spec,
	}
	controller := i.as("system:serviceaccount:kube-system:replicaset-controller", "system:serviceaccounts")
	described, err = controller.CoreV1().Pods(namespace).Create(i.Context(), described, meta.CreateOptions{})
	if err != nil {
		i.Fatalf("the ReplicaSet controller: %v", err)
	}
	return pod.Start(i.T, i.machine(described), described)
}

// as is a client of whom the administrator takes the place of.
func (i *install) as(user string, groups ...string) kubernetes.Interface {
	i.Helper()
	config := i.cluster.AdminConfig(0)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		i.Fatal(err)
	}
	return client
}

// machine surrounds the exporter: the API server, and the hosts of AWS that the chart's values name, with STS.
func (i *install) machine(p *core.Pod) pod.Machine {
	i.Helper()
	machine := pod.Machine{
		Entrypoint: filepath.Join(i.root, "bin", account), Hosts: map[string]string{}, Routes: map[string]pod.Dial{},
		Source: &kubelet{i.as("kubelet", "system:nodes", "system:masters"), p},
	}
	for _, address := range append(i.cluster.Endpoints(), kube.ServiceAddress) {
		machine.Routes[address] = func(ctx context.Context) (net.Conn, error) { return i.cluster.Dial(ctx, "tcp", address) }
	}
	host, port, _ := net.SplitHostPort(kube.ServiceAddress)
	machine.Environment = []string{"KUBERNETES_SERVICE_HOST=" + host, "KUBERNETES_SERVICE_PORT=" + port}
	for n, name := range append(i.destinations(), "sts."+region+".amazonaws.com") {
		address := fmt.Sprintf("198.51.100.%d", 100+n)
		machine.Hosts[name] = address
		machine.Routes[address+":443"] = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", name+":443")
		}
	}
	return machine
}

// destinations are the hosts of the values that the reader took out of the stack's outputs.
func (i *install) destinations() []string {
	i.Helper()
	var values struct {
		Destinations []map[string]json.RawMessage
	}
	if err := json.Unmarshal(i.read("prod-eu1.json"), &values); err != nil {
		i.Fatal(err)
	}
	var hosts []string
	for _, destination := range values.Destinations {
		for kind, settings := range destination {
			var at struct{ URL, QueueURL string }
			if kind == "publisher" {
				continue
			}
			if err := json.Unmarshal(settings, &at); err != nil {
				i.Fatal(err)
			}
			to, err := url.Parse(at.URL + at.QueueURL)
			if err != nil || to.Host == "" {
				i.Fatalf("the destination %s: %s, %v", kind, settings, err)
			}
			hosts = append(hosts, to.Host)
		}
	}
	return hosts
}

// kubelet is where the pod's volumes come from.
type kubelet struct {
	client kubernetes.Interface
	pod    *core.Pod
}

// ConfigMap implements pod.Source.
func (k *kubelet) ConfigMap(ctx context.Context, name string) (map[string]string, error) {
	found, err := k.client.CoreV1().ConfigMaps(k.pod.Namespace).Get(ctx, name, meta.GetOptions{})
	if err != nil {
		return nil, err
	}
	return found.Data, nil
}

// Secret implements pod.Source.
func (k *kubelet) Secret(_ context.Context, name string) (map[string][]byte, error) {
	return nil, fmt.Errorf("the page needs no Secret, but the pod wants %s", name)
}

// Token implements pod.Source.
func (k *kubelet) Token(ctx context.Context, audiences []string, seconds int64) (string, error) {
	answer, err := k.client.CoreV1().ServiceAccounts(k.pod.Namespace).CreateToken(ctx, k.pod.Spec.ServiceAccountName, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{
			Audiences: audiences, ExpirationSeconds: &seconds,
			BoundObjectRef: &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: k.pod.Name, UID: k.pod.UID},
		},
	}, meta.CreateOptions{})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(answer.Status.Token), nil
}
