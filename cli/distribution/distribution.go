// Package distribution tells by what a cluster says of itself which distribution of Kubernetes it is: that decides where an API server's flags are written.
package distribution

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// A Name is a distribution's.
type Name string

// The distributions that are known; Generic is any other.
const (
	Kubeadm   Name = "kubeadm"
	K3s       Name = "k3s"
	RKE2      Name = "rke2"
	Talos     Name = "talos"
	Kind      Name = "kind"
	Minikube  Name = "minikube"
	MicroK8s  Name = "microk8s"
	K0s       Name = "k0s"
	OpenShift Name = "openshift"
	Generic   Name = "generic"
)

// Names are all of them.
func Names() []Name {
	return []Name{Kubeadm, K3s, RKE2, Talos, Kind, Minikube, MicroK8s, K0s, OpenShift, Generic}
}

// ErrNoNodes means that there is nothing to tell a distribution by.
var ErrNoNodes = errors.New("the cluster lists no node")

const detectTimeout = 10 * time.Second

// Detect tells the distribution, and why it thinks so. Most distributions are made with kubeadm's parts, so the more particular signs go first.
func Detect(ctx context.Context, client kubernetes.Interface) (name Name, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		return "", "", err
	}
	if slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "config.openshift.io" }) {
		return OpenShift, "the cluster has the API group config.openshift.io", nil
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 50})
	if err != nil {
		return "", "", err
	}
	if len(nodes.Items) == 0 {
		return "", "", ErrNoNodes
	}
	for _, node := range nodes.Items {
		if name, sign := byNode(node); name != "" {
			return name, "node " + node.Name + " has the " + sign, nil
		}
	}
	return Generic, "no node has a sign of a distribution that is known", nil
}

func byNode(node core.Node) (name Name, sign string) {
	info := node.Status.NodeInfo
	for mark, name := range map[string]Name{"+k3s": K3s, "+rke2": RKE2, "+k0s": K0s} {
		if strings.Contains(info.KubeletVersion, mark) {
			return name, "kubelet " + info.KubeletVersion
		}
	}
	for label, name := range map[string]Name{"minikube.k8s.io/name": Minikube, "microk8s.io/cluster": MicroK8s} {
		if _, has := node.Labels[label]; has {
			return name, "label " + label
		}
	}
	switch {
	case strings.HasPrefix(info.OSImage, "Talos"):
		return Talos, "operating system " + info.OSImage
	case strings.HasPrefix(node.Spec.ProviderID, "kind://"):
		return Kind, "provider ID " + node.Spec.ProviderID
	}
	for annotation := range node.Annotations {
		if strings.HasPrefix(annotation, "kubeadm.alpha.kubernetes.io/") {
			return Kubeadm, "annotation " + annotation
		}
	}
	return "", ""
}
