package kube

import (
	"context"
	"fmt"
	"testing"

	authorization "k8s.io/api/authorization/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// A grant is one rule of the exporter in one namespace.
type grant struct {
	namespace string
	role      string
	rule      rbac.PolicyRule
}

// exporterGrants are all the exporter may do beyond what any service account may (reading the keys is among that).
func exporterGrants(namespace, account string) []grant {
	return []grant{
		{meta.NamespaceDefault, namespace + "-" + account + "-endpointslices", rbac.PolicyRule{
			APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"},
		}},
		{namespace, account + "-attestations", rbac.PolicyRule{
			APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{account},
			Verbs: []string{"create"},
		}},
		{namespace, account + "-events", rbac.PolicyRule{
			APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create"},
		}},
	}
}

// InstallExporter makes the exporter's namespace and service account and grants it what the chart does. It returns when
// every running API server knows.
func (c *Cluster) InstallExporter(t testing.TB, namespace, account string) {
	t.Helper()
	c.CreateServiceAccount(t, namespace, account)
	grants := exporterGrants(namespace, account)
	for _, g := range grants {
		if err := g.apply(t.Context(), c.anyone(), namespace, account); err != nil {
			t.Fatalf("grant %s in %s: %v", g.role, g.namespace, err)
		}
	}
	for _, s := range c.Servers {
		if !s.Running() {
			continue
		}
		for _, g := range grants {
			poll(t, stopTimeout, func(ctx context.Context) error { return g.effective(ctx, s.client, namespace, account) })
		}
	}
}

func (g grant) apply(ctx context.Context, client kubernetes.Interface, namespace, account string) error {
	role := &rbac.Role{ObjectMeta: meta.ObjectMeta{Name: g.role}, Rules: []rbac.PolicyRule{g.rule}}
	if _, err := client.RbacV1().Roles(g.namespace).Create(ctx, role, meta.CreateOptions{}); err != nil {
		return err
	}
	binding := &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: g.role},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: g.role},
		Subjects:   []rbac.Subject{{Kind: rbac.ServiceAccountKind, Namespace: namespace, Name: account}},
	}
	_, err := client.RbacV1().RoleBindings(g.namespace).Create(ctx, binding, meta.CreateOptions{})
	return err
}

// effective asks one API server whether it allows the grant: each watches roles by itself.
func (g grant) effective(ctx context.Context, client kubernetes.Interface, namespace, account string) error {
	user := "system:serviceaccount:" + namespace + ":" + account
	attributes := &authorization.ResourceAttributes{
		Namespace: g.namespace, Verb: g.rule.Verbs[0], Group: g.rule.APIGroups[0], Resource: g.rule.Resources[0],
	}
	if len(g.rule.ResourceNames) > 0 {
		attributes.Resource, attributes.Subresource = "serviceaccounts", "token"
		attributes.Name = g.rule.ResourceNames[0]
	}
	review := &authorization.SubjectAccessReview{
		Spec: authorization.SubjectAccessReviewSpec{User: user, ResourceAttributes: attributes},
	}
	answer, err := client.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, meta.CreateOptions{})
	if err == nil && !answer.Status.Allowed {
		err = fmt.Errorf("%s may not %s %s in %s yet", user, attributes.Verb, attributes.Resource, g.namespace)
	}
	return err
}
