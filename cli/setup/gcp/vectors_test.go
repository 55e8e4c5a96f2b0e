package gcp_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vectors"
)

// The command asks exactly what is documented, and understands the documented answers; and the stand-in of the other tests answers so, too.
func TestVectors(t *testing.T) {
	t.Parallel()
	all := vectors.Load(t, "testdata/vectors")
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, e := range v.Exchanges {
				documented(t, e)
			}
			v.Run(t, httptest.NewServer, func(server *httptest.Server, arguments string) (string, error) { return run(t, server.URL, arguments) })
			g := start(t)
			g.policies[robot] = &iam.Policy{Etag: "A"}
			v.Hold(t, all, g.Config.Handler, g.URL, login, g.fault)
		})
	}
}

// fault is an error, or a state that setup itself never brings about: a pool that somebody deleted, an operation that fails.
func (g *google) fault(a vectors.Answer) {
	body, _ := a.Body.(map[string]any)
	switch {
	case a.Status != 200:
		g.faults = append(g.faults, a)
	case body["state"] == "DELETED":
		g.pools[pool].State = "DELETED"
	case body["error"] != nil:
		g.failed = &iam.Status{Code: 9, Message: "failed"}
	default:
		g.Fatalf("what fault is %v?", body)
	}
}

// documented holds a vector to the API's own types, which Google makes of its discovery document.
func documented(t *testing.T, e vectors.Exchange) {
	t.Helper()
	var request, answer any
	switch path := e.Path; {
	case strings.HasSuffix(path, ":getIamPolicy"):
		request, answer = &iam.GetPolicyOptions{}, &iam.Policy{}
	case strings.HasSuffix(path, ":setIamPolicy"):
		request, answer = &iam.SetIamPolicyRequest{}, &iam.Policy{}
	case strings.HasSuffix(path, ":undelete"):
		request, answer = &iam.UndeleteWorkloadIdentityPoolRequest{}, &iam.Operation{}
	case strings.Contains(path, "/operations/"):
		answer = &iam.Operation{}
	case strings.Contains(path, "/providers"):
		request, answer = &iam.WorkloadIdentityPoolProvider{}, &iam.WorkloadIdentityPoolProvider{}
	default:
		request, answer = &iam.WorkloadIdentityPool{}, &iam.WorkloadIdentityPool{}
	}
	if e.Method != http.MethodGet && !strings.Contains(e.Path, "IamPolicy") {
		answer = &iam.Operation{}
	}
	if e.Answer.Status != 200 {
		answer = &struct {
			Error struct {
				Code            int64
				Message, Status string
			}
		}{}
	}
	strictly(t, e, e.Body, request)
	strictly(t, e, e.Answer.Body, answer)
}

func strictly(t *testing.T, e vectors.Exchange, body, into any) {
	t.Helper()
	if body == nil {
		return
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Errorf("%s %s: %v", e.Method, e.Path, err)
	}
}
