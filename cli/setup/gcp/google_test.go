package gcp_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vectors"
)

// google is a stand-in for the parts of iam.googleapis.com that setup uses, in the shapes of the API's discovery document (types of google.golang.org/api/iam/v1):
// pools and providers with long-running operations that are never done at once, deletion that keeps the ID, update masks that change nothing else, policies whose
// writes need the version of a read.
type google struct {
	*testing.T
	*httptest.Server
	mu         sync.Mutex
	pools      map[string]*iam.WorkloadIdentityPool
	providers  map[string]*iam.WorkloadIdentityPoolProvider
	policies   map[string]*iam.Policy
	operations map[string]*pending
	writes     []string
	faults     []vectors.Answer // what it is told to answer, whatever it is asked
	failed     *iam.Status      // what the next operation comes to
}

type pending struct {
	polls int
	apply func() any // and the resource as it is then
}

const login = "ya29.a-login"

func start(t *testing.T) *google {
	t.Helper()
	g := &google{
		T: t, pools: map[string]*iam.WorkloadIdentityPool{}, providers: map[string]*iam.WorkloadIdentityPoolProvider{},
		policies: map[string]*iam.Policy{}, operations: map[string]*pending{},
	}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

const resource = `projects/[^/]+/locations/global/workloadIdentityPools`

var (
	poolPath      = regexp.MustCompile(`^/v1/(` + resource + `/[^/:]+)$`)
	poolsPath     = regexp.MustCompile(`^/v1/(` + resource + `)$`)
	providerPath  = regexp.MustCompile(`^/v1/(` + resource + `/[^/]+/providers/[^/:]+)$`)
	providersPath = regexp.MustCompile(`^/v1/(` + resource + `/[^/]+/providers)$`)
	operationPath = regexp.MustCompile(`^/v1/(` + resource + `/.+/operations/[^/]+)$`)
	undeletePath  = regexp.MustCompile(`^/v1/(` + resource + `/[^:]+):undelete$`)
	policyPath    = regexp.MustCompile(`^/v1/projects/-/serviceAccounts/([^/]+):(get|set)IamPolicy$`)
)

func (g *google) serve(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+login {
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED")
		return
	}
	if len(g.faults) > 0 {
		fault := g.faults[0]
		g.faults = g.faults[1:]
		for name, value := range fault.Headers {
			w.Header().Set(name, value)
		}
		refuse(w, fault.Status, "FAULT")
		return
	}
	if r.Method != http.MethodGet && !strings.HasSuffix(r.URL.Path, ":getIamPolicy") {
		g.writes = append(g.writes, r.Method+" "+r.URL.Path)
	}
	path := r.URL.Path
	for pattern, handle := range map[*regexp.Regexp]func(http.ResponseWriter, *http.Request, []string){
		poolPath: g.pool, poolsPath: g.createPool, providerPath: g.provider, providersPath: g.createProvider, operationPath: g.operation, policyPath: g.policy, undeletePath: g.undelete,
	} {
		if m := pattern.FindStringSubmatch(path); m != nil {
			handle(w, r, m)
			return
		}
	}
	refuse(w, http.StatusNotFound, "NOT_FOUND")
}

func refuse(w http.ResponseWriter, code int, status string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": status, "status": status}})
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func (g *google) read(r *http.Request, into any) {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		g.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
}

// kind is a resource's, or its operations' metadata's, as Google names types.
func kind(name, suffix string) map[string]string {
	is := "type.googleapis.com/google.iam.v1.WorkloadIdentityPool"
	if strings.Contains(name, "/providers/") {
		is += "Provider"
	}
	return map[string]string{"@type": is + suffix}
}

// begin answers with an operation of a resource that is done at its second poll.
func (g *google) begin(w http.ResponseWriter, name string, apply func() any) {
	operation := fmt.Sprintf("%s/operations/op%d", name, len(g.operations))
	g.operations[operation] = &pending{2, apply}
	answer(w, map[string]any{"name": operation, "metadata": kind(name, "OperationMetadata")})
}

func (g *google) operation(w http.ResponseWriter, _ *http.Request, m []string) {
	o := g.operations[m[1]]
	if o == nil {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	is := map[string]any{"name": m[1], "metadata": kind(m[1], "OperationMetadata")}
	switch o.polls--; {
	case o.polls > 0:
	case g.failed != nil:
		is["done"], is["error"], g.failed = true, g.failed, nil
	default:
		is["done"], is["response"] = true, typed(m[1], o.apply())
	}
	answer(w, is)
}

// typed is a resource with its type, as an operation's response has it.
func typed(name string, of any) map[string]any {
	text, err := json.Marshal(of)
	all := map[string]any{}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil {
		panic(err)
	}
	all["@type"] = kind(name, "")["@type"]
	return all
}

// undelete is of pools and of providers.
func (g *google) undelete(w http.ResponseWriter, _ *http.Request, m []string) {
	pool, provider := g.pools[m[1]], g.providers[m[1]]
	switch {
	case pool != nil && pool.State == "DELETED":
		g.begin(w, m[1], func() any { pool.State = "ACTIVE"; return pool })
	case provider != nil && provider.State == "DELETED":
		g.begin(w, m[1], func() any { provider.State = "ACTIVE"; return provider })
	default:
		refuse(w, http.StatusBadRequest, "FAILED_PRECONDITION")
	}
}

func (g *google) pool(w http.ResponseWriter, _ *http.Request, m []string) {
	if pool := g.pools[m[1]]; pool != nil {
		answer(w, pool)
		return
	}
	refuse(w, http.StatusNotFound, "NOT_FOUND")
}

func (g *google) createPool(w http.ResponseWriter, r *http.Request, m []string) {
	name := m[1] + "/" + r.URL.Query().Get("workloadIdentityPoolId")
	var pool iam.WorkloadIdentityPool
	g.read(r, &pool)
	if g.pools[name] != nil {
		refuse(w, http.StatusConflict, "ALREADY_EXISTS")
		return
	}
	pool.Name, pool.State = name, "ACTIVE"
	g.begin(w, name, func() any { g.pools[name] = &pool; return pool })
}

func (g *google) createProvider(w http.ResponseWriter, r *http.Request, m []string) {
	name := m[1] + "/" + r.URL.Query().Get("workloadIdentityPoolProviderId")
	var provider iam.WorkloadIdentityPoolProvider
	g.read(r, &provider)
	switch {
	case g.pools[strings.TrimSuffix(m[1], "/providers")] == nil:
		refuse(w, http.StatusNotFound, "NOT_FOUND")
	case g.providers[name] != nil:
		refuse(w, http.StatusConflict, "ALREADY_EXISTS")
	case provider.Oidc == nil || provider.AttributeMapping["google.subject"] == "" || len(provider.DisplayName) > 32 || len(provider.AttributeCondition) > 4096:
		refuse(w, http.StatusBadRequest, "INVALID_ARGUMENT")
	default:
		provider.Name, provider.State = name, "ACTIVE"
		g.begin(w, name, func() any { g.providers[name] = &provider; return provider })
	}
}

func (g *google) provider(w http.ResponseWriter, r *http.Request, m []string) {
	provider := g.providers[m[1]]
	if provider == nil {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	switch r.Method {
	case http.MethodGet:
		answer(w, provider)
	case http.MethodDelete:
		g.begin(w, m[1], func() any { provider.State = "DELETED"; return provider })
	case http.MethodPatch:
		var update iam.WorkloadIdentityPoolProvider
		g.read(r, &update)
		mask := strings.Split(r.URL.Query().Get("updateMask"), ",")
		g.begin(w, m[1], func() any {
			if slices.Contains(mask, "attributeMapping") {
				provider.AttributeMapping = maps.Clone(update.AttributeMapping)
			}
			if slices.Contains(mask, "attributeCondition") {
				provider.AttributeCondition = update.AttributeCondition
			}
			return provider
		})
	}
}

func (g *google) policy(w http.ResponseWriter, r *http.Request, m []string) {
	is := g.policies[m[1]]
	if is == nil {
		refuse(w, http.StatusNotFound, "NOT_FOUND")
		return
	}
	if m[2] == "set" {
		var request iam.SetIamPolicyRequest
		g.read(r, &request)
		if request.Policy.Etag != is.Etag || request.Policy.Version != 3 {
			refuse(w, http.StatusConflict, "ABORTED")
			return
		}
		is = request.Policy
		is.Etag += "I"
		g.policies[m[1]] = is
	} else if r.URL.Query().Get("options.requestedPolicyVersion") != "3" {
		g.Error("a policy is asked for in a version that loses conditions")
	}
	answer(w, is)
}
