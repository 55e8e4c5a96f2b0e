// Package pubsub is a stand-in for what a workload outside Google uses to publish: the Security Token Service, which exchanges a
// cluster's token for one of Google's; IAM Credentials, which exchanges that for a service account's; and Pub/Sub's REST API. Tokens are
// really verified, against the issuer's published documents or the keys uploaded to the provider, and every right is checked. Errors have
// Google's documented forms.
//
// It shares no code with what it tests, and has the services' own names: it is reached through test/internet.
package pubsub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	stsHost         = "sts.googleapis.com"
	credentialsHost = "iamcredentials.googleapis.com"
	pubsubHost      = "pubsub.googleapis.com"

	cloudPlatform = "https://www.googleapis.com/auth/cloud-platform"
	tokenLifetime = time.Hour
	maxRequest    = 10 << 20 // of Pub/Sub, the largest
)

// Google is the services.
type Google struct {
	now func() time.Time

	mu        sync.Mutex
	providers map[string]Provider
	accounts  map[string][]string
	topics    map[string]*Topic
	tokens    map[string]login
	broken    map[string]Answer
	logins    int
}

// login is what an access token stands for.
type login struct {
	principal string
	scopes    []string
	expires   time.Time
}

// Answer is what a service says instead of doing its work.
type Answer struct {
	Status int
	Body   string
}

// Start serves until the test ends.
func Start(t testing.TB, network *internet.Internet) *Google {
	t.Helper()
	g := &Google{
		now: time.Now, providers: map[string]Provider{}, accounts: map[string][]string{}, topics: map[string]*Topic{}, tokens: map[string]login{},
		broken: map[string]Answer{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+stsHost+"/v1/token", g.exchange)
	mux.HandleFunc("POST "+credentialsHost+"/v1/projects/-/serviceAccounts/{call}", g.generateAccessToken)
	mux.HandleFunc("POST "+pubsubHost+"/v1/projects/{project}/topics/{call}", g.publish)
	network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		if answer, broken := g.brokenAnswer(r.Host); broken {
			w.WriteHeader(answer.Status)
			_, _ = w.Write([]byte(answer.Body))
			return
		}
		mux.ServeHTTP(w, r)
	}), stsHost, credentialsHost, pubsubHost)
	return g
}

// Provide makes or changes a Workload Identity provider, projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER.
func (g *Google) Provide(name string, provider Provider) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.providers[name] = provider
}

// Account makes a service account, which these members may act as (roles/iam.workloadIdentityUser).
func (g *Google) Account(email string, members ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.accounts[email] = members
}

// Topic makes a topic, projects/PROJECT/topics/TOPIC, or lets other members publish to it (roles/pubsub.publisher).
func (g *Google) Topic(name string, members ...string) *Topic {
	g.mu.Lock()
	defer g.mu.Unlock()
	topic := g.topics[name]
	if topic == nil {
		topic = &Topic{name: name, arrived: make(chan Message, 1000)}
		g.topics[name] = topic
	}
	topic.publishers = members
	return topic
}

// Logins is how many tokens were asked of the Security Token Service.
func (g *Google) Logins() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logins
}

// Forget ends every login: its token is refused from now on.
func (g *Google) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.tokens)
}

// Break makes a service (by host) answer so; a status of 0 mends it.
func (g *Google) Break(host string, answer Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken[host] = answer
}

func (g *Google) brokenAnswer(host string) (Answer, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	answer := g.broken[host]
	return answer, answer.Status != 0
}

// Principal is who a subject is to IAM, in a provider's pool.
func Principal(provider, subject string) string {
	pool, _, _ := strings.Cut(provider, "/providers/")
	return "principal://iam.googleapis.com/" + pool + "/subject/" + subject
}

// Everyone is the members of a provider's pool.
func Everyone(provider string) string {
	pool, _, _ := strings.Cut(provider, "/providers/")
	return "principalSet://iam.googleapis.com/" + pool + "/*"
}

// allowed reports whether a principal is among members.
func allowed(principal string, members []string) bool {
	return slices.ContainsFunc(members, func(member string) bool {
		pool, everyone := strings.CutSuffix(member, "/*")
		pool = strings.Replace(pool, "principalSet://", "principal://", 1)
		return member == principal || everyone && strings.HasPrefix(principal, pool+"/subject/")
	})
}

// issue makes an access token.
func (g *Google) issue(text string, l login) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens[text] = l
}

// caller is who a request is from, if it has a right scope.
func (g *Google) caller(w http.ResponseWriter, r *http.Request, scopes ...string) (login, bool) {
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	g.mu.Lock()
	l, known := g.tokens[text]
	g.mu.Unlock()
	if !known || !g.now().Before(l.expires) {
		fail(w, http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.")
		return login{}, false
	}
	if !slices.ContainsFunc(scopes, func(scope string) bool { return slices.Contains(l.scopes, scope) }) {
		fail(w, http.StatusForbidden, "PERMISSION_DENIED", "Request had insufficient authentication scopes.")
		return login{}, false
	}
	return l, true
}

// fail answers an error in the form of google.rpc.Status, as all APIs but OAuth's do.
func fail(w http.ResponseWriter, status int, code, format string, args ...any) {
	reply(w, status, map[string]any{"error": map[string]any{"code": status, "message": fmt.Sprintf(format, args...), "status": code}})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever hangs up needs no answer
}
