// Package entra is a stand-in for what a workload outside Azure uses to put messages into a storage queue: Microsoft Entra, which
// exchanges a cluster's token for an access token by a federated credential, and the check of that token and of roles before the queue.
// Assertions are really verified, against the issuer's published documents; access tokens are really signed. Errors have the documented
// forms and codes.
//
// It shares no code with what it tests, and has the services' own names: it is reached through test/internet.
package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	host          = "login.microsoftonline.com"
	tokenLifetime = time.Hour
	maxRequest    = 128 << 10

	// Audience is that of assertions, in the public cloud.
	Audience = "api://AzureADTokenExchange"
)

// Tenant is a directory.
type Tenant struct {
	ID string

	network *internet.Internet
	now     func() time.Time
	key     jose.JSONWebKey // signs access tokens

	mu         sync.Mutex
	identities map[string]Identity // by client ID
	logins     int
	broken     bool
}

// Identity is an application or a user-assigned managed identity.
type Identity struct {
	ObjectID    string // of its service principal, to which roles are given
	Credentials []Federated
}

// Federated is a federated credential. Each member is compared byte for byte.
type Federated struct{ Issuer, Subject, Audience string }

// Start serves a tenant until the test ends.
func Start(t testing.TB, network *internet.Internet, tenant string) *Tenant {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e := &Tenant{
		ID: tenant, network: network, now: time.Now, identities: map[string]Identity{},
		key: jose.JSONWebKey{Key: private, KeyID: rand.Text(), Algorithm: string(jose.RS256), Use: "sig"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", e.discovery)
	mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", e.keys)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", e.token)
	network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		e.mu.Lock()
		broken := e.broken
		e.mu.Unlock()
		if broken {
			http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}), host)
	return e
}

// Identify makes or changes an identity.
func (e *Tenant) Identify(clientID string, identity Identity) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.identities[clientID] = identity
}

// Break makes everything be answered as when Entra is down, or mends it.
func (e *Tenant) Break(broken bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.broken = broken
}

// Logins is how many tokens were asked for.
func (e *Tenant) Logins() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.logins
}

func (e *Tenant) discovery(w http.ResponseWriter, r *http.Request) {
	if !e.known(w, r) {
		return
	}
	base := "https://" + host + "/" + e.ID
	reply(w, http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
		"jwks_uri": base + "/discovery/v2.0/keys", "response_types_supported": []string{"code", "id_token"}, "subject_types_supported": []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
	})
}

func (e *Tenant) keys(w http.ResponseWriter, r *http.Request) {
	if e.known(w, r) {
		reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{e.key.Public()}})
	}
}

func (e *Tenant) known(w http.ResponseWriter, r *http.Request) bool {
	if r.PathValue("tenant") == e.ID {
		return true
	}
	e.fail(w, refused("invalid_tenant", 90002, http.StatusBadRequest, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", r.PathValue("tenant")))
	return false
}

// loginError is one of Entra's.
type loginError struct {
	oauth   string // code of RFC 6749
	code    int    // of Entra
	status  int    // HTTP
	message string
}

func (err loginError) Error() string { return err.message }

func refused(oauth string, code, status int, format string, args ...any) loginError {
	return loginError{oauth, code, status, fmt.Sprintf("AADSTS%d: ", code) + fmt.Sprintf(format, args...)}
}

func (e *Tenant) fail(w http.ResponseWriter, err loginError) {
	trace, at := rand.Text(), e.now().UTC().Format("2006-01-02 15:04:05Z")
	reply(w, err.status, map[string]any{
		"error": err.oauth, "error_description": fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", err.message, trace, trace, at),
		"error_codes": []int{err.code}, "timestamp": at, "trace_id": trace, "correlation_id": trace,
		"error_uri": fmt.Sprintf("https://%s/error?code=%d", host, err.code),
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever hangs up needs no answer
}
