package entra

import (
	"crypto/rand"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// Sender is the role that may put messages into a queue, and nothing else.
	Sender = "Storage Queue Data Message Sender"
	// Contributor may do everything with a queue and its messages.
	Contributor = "Storage Queue Data Contributor"

	storageAudience = "https://storage.azure.com"
)

// Assignment gives an identity a role on a queue.
type Assignment struct{ ObjectID, Role, Queue string }

// Gate stands before the queues of a storage account and does what no emulator does: it verifies the signature of access tokens, and
// knows who may do what. What it lets through goes to the emulator with its token.
type Gate struct {
	tenant *Tenant
	proxy  *httputil.ReverseProxy

	mu          sync.Mutex
	assignments []Assignment
	closed      bool
}

// Guard serves https://ACCOUNT.queue.core.windows.net. Behind it is a queue service with the account in its URL; the client reaches it.
func (e *Tenant) Guard(t testing.TB, account, behind string, client *http.Client) *Gate {
	t.Helper()
	to, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	gate := &Gate{tenant: e, proxy: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: client.Transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			storageError(w, http.StatusServiceUnavailable, "ServerBusy", err.Error())
		},
	}}
	e.network.Serve(gate, account+".queue.core.windows.net")
	return gate
}

// Assign makes these the only assignments.
func (g *Gate) Assign(assignments ...Assignment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.assignments = assignments
}

// Close makes the account's firewall refuse everybody, or nobody.
func (g *Gate) Close(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	who, err := g.tenant.bearer(r)
	switch {
	case closed:
		storageError(w, http.StatusForbidden, "AuthorizationFailure", "This request is not authorized to perform this operation.")
	case err != nil:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer authorization_uri=https://%s/%s/oauth2/authorize resource_id=%s", host, g.tenant.ID, storageAudience))
		storageError(w, http.StatusUnauthorized, "InvalidAuthenticationInfo", "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	case !g.may(who, r):
		storageError(w, http.StatusForbidden, "AuthorizationPermissionMismatch", "This request is not authorized to perform this operation using this permission.")
	default:
		g.proxy.ServeHTTP(w, r)
	}
}

func (g *Gate) may(objectID string, r *http.Request) bool {
	queue, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.assignments, func(a Assignment) bool {
		return a.ObjectID == objectID && a.Queue == queue && (a.Role == Contributor || a.Role == Sender && r.Method == http.MethodPost && rest == "messages")
	})
}

// bearer is the object ID of whom a request is from.
func (e *Tenant) bearer(r *http.Request) (string, error) {
	text, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	var more struct {
		ObjectID string `json:"oid"`
	}
	if err := parsed.Claims(e.key.Public(), &claims, &more); err != nil {
		return "", err
	}
	return more.ObjectID, claims.Validate(jwt.Expected{
		Issuer: "https://sts.windows.net/" + e.ID + "/", AnyAudience: jwt.Audience{storageAudience, storageAudience + "/"}, Time: e.now(),
	})
}

// storageError answers as Azure Storage does, with a byte order mark.
func storageError(w http.ResponseWriter, status int, code, message string) {
	request := rand.Text()
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(message)) // a strings.Builder takes everything
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Ms-Error-Code", code)
	w.Header().Set("X-Ms-Request-Id", request)
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>%s\nRequestId:%s</Message></Error>", code, escaped.String(), request)
}
