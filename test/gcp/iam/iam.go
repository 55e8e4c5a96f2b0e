// Package iam is a stand-in for the part of Google's IAM that Workload Identity Federation providers are kept with, and for the side of
// Google's STS that uses them, so that a token can be exchanged against what was really uploaded.
//
// Its shapes are those of the API's discovery document (types of google.golang.org/api/iam/v1): get, patch with an update mask,
// long-running operations, errors as google.rpc.Status with details. It is as harsh as the documentation allows: a patch is done when its
// operation is and not before, an operation is never done at once, a write replaces the whole set, there is no etag and no condition,
// and the keys that are uploaded are not looked at. What is wrong with them shows in the exchange, where Google names the issuer and not the key.
// Who calls needs a login with the rights: without, the answer is 401, or 403 as if the provider did not exist.
package iam

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"
)

// The rights that the calls ask for.
const (
	GetPermission    = "iam.workloadIdentityPoolProviders.get"
	UpdatePermission = "iam.workloadIdentityPoolProviders.update"
)

// The calls, as Fault and Calls name them.
const (
	Get       = "get"
	Patch     = "patch"
	Operation = "operations.get"
)

// Server is the API. It is safe for concurrent use.
type Server struct {
	http  *httptest.Server
	token string

	mu         sync.Mutex
	now        func() time.Time
	providers  map[string]*iam.WorkloadIdentityPoolProvider
	operations map[string]*operation
	polls      int // how often an operation is asked after until it is done
	granted    map[string]bool
	faults     map[string][]Fault
	calls      []string
	after      map[string]func()
	stale      map[string]*staleness
}

type staleness struct {
	provider iam.WorkloadIdentityPoolProvider
	reads    int
}

// Start serves on 127.0.0.1 until the test is over.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		token: rand.Text(), now: time.Now, polls: 1,
		providers: map[string]*iam.WorkloadIdentityPoolProvider{}, operations: map[string]*operation{},
		granted: map[string]bool{GetPermission: true, UpdatePermission: true},
		faults:  map[string][]Fault{}, after: map[string]func(){}, stale: map[string]*staleness{},
	}
	s.http = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.http.Close)
	return s
}

// URL is where the API is, as option.WithEndpoint takes it.
func (s *Server) URL() string { return s.http.URL + "/" }

// Token is the login that has the rights.
func (s *Server) Token() string { return s.token }

// Options are a client's, logged in.
func (s *Server) Options() []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(s.URL()),
		option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: s.token})),
	}
}

// Name is a provider's resource name in the project 111122223333 and the pool "clusters".
func Name(id string) string {
	return "projects/111122223333/locations/global/workloadIdentityPools/clusters/providers/" + id
}

// CreateProvider makes an OIDC provider with nothing uploaded, as Terraform does, and returns its name.
func (s *Server) CreateProvider(t testing.TB, id, issuer string) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	name := Name(id)
	if s.providers[name] != nil {
		t.Fatalf("there is a provider %s", name)
	}
	s.providers[name] = &iam.WorkloadIdentityPoolProvider{
		Name: name, State: "ACTIVE", AttributeMapping: map[string]string{"google.subject": "assertion.sub"},
		Oidc: &iam.Oidc{IssuerUri: issuer},
	}
	return name
}

// Edit is another hand at a provider: a person, or Terraform.
func (s *Server) Edit(t testing.TB, name string, change func(*iam.WorkloadIdentityPoolProvider)) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	provider := s.providers[name]
	if provider == nil {
		t.Fatalf("there is no provider %s", name)
	}
	change(provider)
}

// Provider is a copy of what is there now, or nil.
func (s *Server) Provider(name string) *iam.WorkloadIdentityPoolProvider {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.providers[name] == nil {
		return nil
	}
	copied := clone(*s.providers[name])
	return &copied
}

// Keys is the uploaded JWK Set as it is.
func (s *Server) Keys(name string) string {
	if provider := s.Provider(name); provider != nil && provider.Oidc != nil {
		return provider.Oidc.JwksJson
	}
	return ""
}

// SetClock makes the exchange happen at another time.
func (s *Server) SetClock(now func() time.Time) { s.set(func() { s.now = now }) }

// SetPolls makes every new operation be done when it is asked after for the n-th time, at least the first.
func (s *Server) SetPolls(n int) { s.set(func() { s.polls = max(n, 1) }) }

// Grant leaves the caller these rights only.
func (s *Server) Grant(permissions ...string) {
	s.set(func() {
		clear(s.granted)
		for _, permission := range permissions {
			s.granted[permission] = true
		}
	})
}

// After calls once, when the next call of the kind has had its effect and before it is answered, with nothing locked. For Operation that is
// the one that finds it done.
func (s *Server) After(call string, then func()) { s.set(func() { s.after[call] = then }) }

// Stale makes the next reads of a provider show it as it is now, whatever is written: the API is eventually consistent.
func (s *Server) Stale(name string, reads int) {
	s.set(func() { s.stale[name] = &staleness{clone(*s.providers[name]), reads} })
}

// Calls are the calls made so far, in order, refused ones too.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Count is how often a call was made.
func (s *Server) Count(call string) int {
	n := 0
	for _, made := range s.Calls() {
		if made == call {
			n++
		}
	}
	return n
}

func (s *Server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func clone(p iam.WorkloadIdentityPoolProvider) iam.WorkloadIdentityPoolProvider {
	p.AttributeMapping = maps.Clone(p.AttributeMapping)
	if p.Oidc != nil {
		oidc := *p.Oidc
		oidc.AllowedAudiences = slices.Clone(oidc.AllowedAudiences)
		p.Oidc = &oidc
	}
	return p
}

// A Fault is how a call fails.
type Fault struct {
	Call  string // Get, Patch or Operation
	Times int    // default 1

	Status  int    // of the answer, and what it says; 0 closes the connection without one
	Reason  string // of the google.rpc.ErrorInfo, if any
	Message string
	Body    string // instead of JSON, as something between says

	Applied bool // the call has its effect, and only its answer is lost
	Ends    int  // for Patch: it begins well, and its operation ends with this google.rpc.Code and the Message
}

// Fail makes coming calls fail, after those it was told before.
func (s *Server) Fail(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, fault := range faults {
		for range max(fault.Times, 1) {
			s.faults[fault.Call] = append(s.faults[fault.Call], fault)
		}
	}
}

// fault is the next one for a call, taken off the list.
func (s *Server) fault(call string) *Fault {
	if len(s.faults[call]) == 0 {
		return nil
	}
	fault := s.faults[call][0]
	s.faults[call] = s.faults[call][1:]
	return &fault
}

func (s *Server) allowed(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "bearer") && token == s.token
}

func operationName(provider string) string {
	return fmt.Sprintf("%s/operations/%s", provider, strings.ToLower(rand.Text()))
}
