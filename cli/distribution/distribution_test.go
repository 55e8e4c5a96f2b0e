package distribution_test

import (
	"errors"
	"testing"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
)

func TestDetect(t *testing.T) {
	t.Parallel()
	kubeadm := map[string]string{"kubeadm.alpha.kubernetes.io/cri-socket": "unix:///run/containerd/containerd.sock"}
	for want, node := range map[distribution.Name]core.Node{
		distribution.Kubeadm:  {ObjectMeta: metav1.ObjectMeta{Annotations: kubeadm}},
		distribution.K3s:      {Status: core.NodeStatus{NodeInfo: core.NodeSystemInfo{KubeletVersion: "v1.36.1+k3s1"}}},
		distribution.RKE2:     {Status: core.NodeStatus{NodeInfo: core.NodeSystemInfo{KubeletVersion: "v1.36.1+rke2r1"}}},
		distribution.K0s:      {Status: core.NodeStatus{NodeInfo: core.NodeSystemInfo{KubeletVersion: "v1.36.1+k0s"}}},
		distribution.Talos:    {Status: core.NodeStatus{NodeInfo: core.NodeSystemInfo{OSImage: "Talos (v1.13.9)"}}},
		distribution.Kind:     {ObjectMeta: metav1.ObjectMeta{Annotations: kubeadm}, Spec: core.NodeSpec{ProviderID: "kind://docker/kind/kind-control-plane"}},
		distribution.Minikube: {ObjectMeta: metav1.ObjectMeta{Annotations: kubeadm, Labels: map[string]string{"minikube.k8s.io/name": "minikube"}}},
		distribution.MicroK8s: {ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"microk8s.io/cluster": "true"}}},
		distribution.Generic:  {},
	} {
		got, why, err := distribution.Detect(t.Context(), fake.NewClientset(&node))
		if err != nil || got != want || why == "" {
			t.Errorf("%s, because %s (%v), want %s", got, why, err, want)
		}
	}
	if _, _, err := distribution.Detect(t.Context(), fake.NewClientset()); !errors.Is(err, distribution.ErrNoNodes) {
		t.Errorf("a cluster without nodes: %v", err)
	}
	openshift := fake.NewClientset()
	openshift.Resources = []*metav1.APIResourceList{{GroupVersion: "config.openshift.io/v1"}}
	if got, _, err := distribution.Detect(t.Context(), openshift); err != nil || got != distribution.OpenShift {
		t.Errorf("%s, %v", got, err)
	}
}
