package rotation

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

// The distributions that have steps of their own; any other has the generic ones.
const (
	kubeadm   = "kubeadm"
	k3s       = "k3s"
	rke2      = "rke2"
	talos     = "talos"
	kind      = "kind"
	openshift = "openshift"
	generic   = "generic"
)

// Distributions are the names that --distribution takes.
func Distributions() []string { return []string{kubeadm, k3s, rke2, talos, kind, openshift, generic} }

const detectTimeout = 10 * time.Second

var errNoNodes = errors.New("no node is listed")

// detect tells the distribution by what its nodes say of themselves, and why it thinks so.
func detect(ctx context.Context, client kubernetes.Interface) (distribution, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	groups, err := client.Discovery().ServerGroups()
	if err != nil {
		return "", "", err
	}
	if slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "config.openshift.io" }) {
		return openshift, "it has the API group config.openshift.io", nil
	}
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 50})
	if err != nil {
		return "", "", err
	}
	if len(nodes.Items) == 0 {
		return "", "", errNoNodes
	}
	for _, node := range nodes.Items {
		if distribution, why = byNode(node); distribution != "" {
			return distribution, why, nil
		}
	}
	return generic, "no node looks like a distribution that has steps of its own", nil
}

func byNode(node core.Node) (distribution, why string) {
	info := node.Status.NodeInfo
	says := func(what string) string { return "node " + node.Name + " " + what }
	switch {
	case strings.Contains(info.KubeletVersion, "+k3s"):
		return k3s, says("runs the kubelet " + info.KubeletVersion)
	case strings.Contains(info.KubeletVersion, "+rke2"):
		return rke2, says("runs the kubelet " + info.KubeletVersion)
	case strings.HasPrefix(info.OSImage, "Talos"):
		return talos, says("runs " + info.OSImage)
	case strings.HasPrefix(node.Spec.ProviderID, "kind://"):
		return kind, says("has the provider ID " + node.Spec.ProviderID)
	}
	for annotation := range node.Annotations {
		if strings.HasPrefix(annotation, "kubeadm.alpha.kubernetes.io/") {
			return kubeadm, says("has the annotation " + annotation)
		}
	}
	return "", ""
}
