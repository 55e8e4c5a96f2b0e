package chart_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// request is one in the audit log.
type request struct {
	Verb       string `json:"verb"`
	RequestURI string `json:"requestURI"`
	ObjectRef  *struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	ResponseStatus struct{ Code int }
	Annotations    map[string]string `json:"annotations"`
	Received       time.Time         `json:"requestReceivedTimestamp"`

	server int
}

// rightsAreUsed compares what the exporters did with what their Roles list: nothing was denied, and nothing is listed that is not used.
func (w *world) rightsAreUsed(namespace string) {
	w.Helper()
	used, paths := map[string]bool{}, map[string]bool{}
	for _, r := range w.audit() {
		switch {
		case r.denied():
		case r.ObjectRef == nil:
			paths[r.right()] = true
		default:
			used[r.right()] = true
		}
	}
	if denied := w.denials(); len(denied) > 0 {
		w.Errorf("denied:\n%s", sorted(denied))
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

// denials are the rights that were denied. Only an API server that is not ready yet may deny one, since it has not read all Roles, and the
// very same request must be allowed later: by any of them, as all read the same Roles, and who was denied may ask another.
func (w *world) denials() map[string]bool {
	w.Helper()
	all, forgiven := w.audit(), 0
	denied := map[string]bool{}
	for _, r := range all {
		if !r.denied() {
			continue
		}
		allowedLater := slices.ContainsFunc(all, func(later request) bool { return !later.denied() && later.Received.After(r.Received) && later.same(r) })
		if allowedLater && w.restarting(r) {
			forgiven++
			continue
		}
		denied[r.right()] = true
	}
	w.Logf("audit log: %d requests of exporters, %d denied by API servers that were not ready, others: %d", len(all), forgiven, len(denied))
	return denied
}

// restarting says whether a request came while its API server was started again and not ready.
func (w *world) restarting(r request) bool {
	return slices.ContainsFunc(w.restarts, func(s restart) bool {
		return s.server == r.server && r.Received.After(s.began) && r.Received.Before(s.ready)
	})
}

// denied counts every answer that a missing right could have.
func (r request) denied() bool {
	return r.Annotations["authorization.k8s.io/decision"] != "allow" || r.ResponseStatus.Code == http.StatusForbidden || r.ResponseStatus.Code == http.StatusUnauthorized
}

// same says whether it is the same question, whatever its parameters.
func (r request) same(other request) bool {
	path, _, _ := strings.Cut(r.RequestURI, "?")
	others, _, _ := strings.Cut(other.RequestURI, "?")
	return r.Verb == other.Verb && path == others
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

// audit is all that the exporters asked the API servers, each server's in the order of its answers.
func (w *world) audit() []request {
	w.Helper()
	var all []request
	for server := range w.cluster.Servers {
		data, err := os.ReadFile(w.auditLog(server))
		if err != nil {
			w.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(data))
		for {
			r := request{server: server}
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
