package chart_test

import (
	"context"
	"slices"
	"strings"

	apps "k8s.io/api/apps/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
)

// everyRightIsNeeded takes each rule away in turn. The exporter says what it can't do then, and goes on when it may again.
func (w *world) everyRightIsNeeded(set *apps.ReplicaSet) {
	w.Helper()
	for i, missing := range []struct{ namespace, role, resource, says string }{
		{"default", namespace + "-" + account, "endpointslices", "the exporter's Role in the namespace default is missing"},
		{namespace, account, "serviceaccounts/token", "the exporter's Role that lets it create its own token is missing"},
		{namespace, account, "events", "a Kubernetes Event could not be created"},
	} {
		give := w.take(missing.namespace, missing.role, missing.resource)
		for server := range w.cluster.Servers {
			w.eventually(func(ctx context.Context) error { return w.allowed(ctx, server, rights[i], false) })
		}
		p := w.start(w.newPod(set))
		if missing.resource == "events" { // something has to happen that there is an Event of
			give2 := w.take("default", namespace+"-"+account, "endpointslices")
			w.waitLog(p, missing.says)
			give2()
		} else {
			w.waitLog(p, missing.says)
		}
		p.Kill()
		give()
	}
	w.waitForRights()
	p := w.start(w.newPod(set))
	w.waitLog(p, "the publisher accepted the snapshot")
	p.Kill()
	// The audit log tells the same, or it could not tell of a right that is missing.
	denied := w.denials()
	for _, r := range rights {
		resource := strings.TrimSuffix(r.Resource+"/"+r.Subresource, "/")
		if missing := right(r.Namespace, r.Verb, r.Group, resource, r.Name); !denied[missing] {
			w.Errorf("%q was taken away, and the audit log has denied only\n%s", missing, sorted(denied))
		}
	}
}

// take takes a rule from a Role, and returns what gives it back.
func (w *world) take(namespace, name, resource string) (give func()) {
	w.Helper()
	roles := w.cluster.Admin(0).RbacV1().Roles(namespace)
	var before []rbac.PolicyRule
	change := func(to func([]rbac.PolicyRule) []rbac.PolicyRule) {
		err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
			role, err := roles.Get(w.Context(), name, meta.GetOptions{})
			if err != nil {
				return err
			}
			role.Rules = to(role.Rules)
			_, err = roles.Update(w.Context(), role, meta.UpdateOptions{})
			return err
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	change(func(rules []rbac.PolicyRule) []rbac.PolicyRule {
		before = slices.Clone(rules)
		return slices.DeleteFunc(rules, func(r rbac.PolicyRule) bool { return slices.Contains(r.Resources, resource) })
	})
	return func() { change(func([]rbac.PolicyRule) []rbac.PolicyRule { return before }) }
}
