// Package cloudrun is a stand-in for what guards a private service of Cloud Run: Google's token endpoint and IAM Credentials, which make ID tokens for
// service accounts, and the check of such a token and of roles/run.invoker before the service. Assertions and tokens are really verified.
//
// It shares no code with what it tests, and has the services' own names: it is reached through test/internet.
package cloudrun

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
)

const (
	issuer          = "https://accounts.google.com"
	tokenURL        = "https://oauth2.googleapis.com/token"
	tokenHost       = "oauth2.googleapis.com"
	credentialsHost = "iamcredentials.googleapis.com"
	gcloud          = "32555940559.apps.googleusercontent.com" // the audience of a person's ID token that gcloud prints
	lifetime        = time.Hour
	maxRequest      = 64 << 10
)

// Google makes ID tokens.
type Google struct {
	t       testing.TB
	network *internet.Internet
	key     *rsa.PrivateKey

	mu       sync.Mutex
	accounts map[string]*rsa.PublicKey // of service accounts' keys, by email
	people   map[string]string         // by refresh token
	access   map[string]string         // by access token
	creators map[string]string         // account → who may make ID tokens for it
}

// Start serves until the test ends.
func Start(t testing.TB, network *internet.Internet) *Google {
	t.Helper()
	g := &Google{
		t: t, network: network, key: newKey(t), accounts: map[string]*rsa.PublicKey{}, people: map[string]string{}, access: map[string]string{}, creators: map[string]string{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+tokenHost+"/token", g.token)
	mux.HandleFunc("POST "+credentialsHost+"/v1/projects/-/serviceAccounts/{call}", g.generateIDToken)
	network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		mux.ServeHTTP(w, r)
	}), tokenHost, credentialsHost)
	return g
}

func newKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// ServiceAccount makes one with a key, and returns the file that GOOGLE_APPLICATION_CREDENTIALS names.
func (g *Google) ServiceAccount(email string) []byte {
	g.t.Helper()
	key := newKey(g.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	g.accounts[email] = &key.PublicKey
	g.mu.Unlock()
	return g.file(map[string]string{
		"type": "service_account", "client_email": email, "private_key_id": "1", "token_uri": tokenURL,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
}

// Person logs somebody in, and returns the file that gcloud auth application-default login leaves.
func (g *Google) Person(email string) []byte {
	g.t.Helper()
	refresh := rand.Text()
	g.mu.Lock()
	g.people[refresh] = email
	g.mu.Unlock()
	return g.file(map[string]string{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": refresh})
}

func (g *Google) file(content map[string]string) []byte {
	g.t.Helper()
	text, err := json.Marshal(content)
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

// LetImpersonate gives somebody roles/iam.serviceAccountOpenIdTokenCreator on a service account.
func (g *Google) LetImpersonate(who, account string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.creators[account] = who
}

// PrintIdentityToken is what gcloud auth print-identity-token prints for a person.
func (g *Google) PrintIdentityToken(email string) string {
	g.t.Helper()
	token, err := g.idToken(email, gcloud)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

func (g *Google) idToken(email, audience string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: g.key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(map[string]any{
		"iss": issuer, "aud": audience, "sub": email, "email": email, "email_verified": true, "iat": now.Unix(), "exp": now.Add(lifetime).Unix(),
	}).Serialize()
}

// token is the token endpoint: a service account's assertion (RFC 7523) becomes an ID token, a person's refresh token an access token.
func (g *Google) token(w http.ResponseWriter, r *http.Request) {
	if r.ParseForm() != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		return
	}
	if r.PostForm.Get("grant_type") == "refresh_token" {
		g.mu.Lock()
		email, known := g.people[r.PostForm.Get("refresh_token")]
		access := rand.Text()
		g.access[access] = email
		g.mu.Unlock()
		if !known {
			reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
			return
		}
		reply(w, http.StatusOK, map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": int(lifetime.Seconds())})
		return
	}
	email, audience, err := g.asserted(r.PostForm.Get("assertion"))
	if err == nil {
		var token string
		if token, err = g.idToken(email, audience); err == nil {
			reply(w, http.StatusOK, map[string]any{"id_token": token})
			return
		}
	}
	reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": err.Error()})
}

func (g *Google) asserted(assertion string) (email, audience string, err error) {
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", "", err
	}
	var claims struct {
		jwt.Claims

		Target string `json:"target_audience"`
	}
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		return "", "", err
	}
	g.mu.Lock()
	key := g.accounts[claims.Issuer]
	g.mu.Unlock()
	if key == nil {
		return "", "", fmt.Errorf("Invalid grant: account not found") //nolint:staticcheck // Google's words
	}
	if err := parsed.Claims(key, &claims); err != nil {
		return "", "", err
	}
	if claims.Target == "" {
		return "", "", fmt.Errorf("no target_audience")
	}
	return claims.Issuer, claims.Target, claims.Validate(jwt.Expected{AnyAudience: jwt.Audience{tokenURL}, Time: time.Now()})
}

// generateIDToken is IAM Credentials'.
func (g *Google) generateIDToken(w http.ResponseWriter, r *http.Request) {
	account, ok := strings.CutSuffix(r.PathValue("call"), ":generateIdToken")
	var wanted struct{ Audience string }
	if !ok || json.NewDecoder(r.Body).Decode(&wanted) != nil {
		reply(w, http.StatusNotFound, map[string]any{"error": map[string]any{"code": 404, "status": "NOT_FOUND"}})
		return
	}
	g.mu.Lock()
	who := g.access[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	may := who != "" && g.creators[account] == who
	g.mu.Unlock()
	token, err := g.idToken(account, wanted.Audience)
	if !may || err != nil {
		reply(w, http.StatusForbidden, map[string]any{"error": map[string]any{
			"code": 403, "status": "PERMISSION_DENIED", "message": "Permission 'iam.serviceAccounts.getOpenIdToken' denied on resource (or it may not exist).",
		}})
		return
	}
	reply(w, http.StatusOK, map[string]any{"token": token})
}

// Run serves a private service at https://HOST, behind which is another server, for these accounts and people alone.
func (g *Google) Run(host, behind string, invokers ...string) (stop func()) {
	g.t.Helper()
	to, err := url.Parse(behind)
	if err != nil {
		g.t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Header.Del("Authorization") // whose signature Cloud Run takes away
	}}
	return g.network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		email, err := g.caller(r, "https://"+host)
		switch {
		case err != nil:
			http.Error(w, "<html><title>401 Unauthorized</title>Your client does not have permission to the requested URL.</html>", http.StatusUnauthorized)
		case !slices.Contains(invokers, email):
			http.Error(w, "<html><title>403 Forbidden</title>Your client does not have permission to get URL / from this server.</html>", http.StatusForbidden)
		default:
			proxy.ServeHTTP(w, r)
		}
	}), host)
}

// caller is whose ID token a request carries: for the service's URL, or a person's that gcloud printed.
func (g *Google) caller(r *http.Request, audience string) (string, error) {
	parsed, err := jwt.ParseSigned(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return "", err
	}
	var claims jwt.Claims
	var more struct {
		Email string `json:"email"`
	}
	if err := parsed.Claims(&g.key.PublicKey, &claims, &more); err != nil {
		return "", err
	}
	return more.Email, claims.Validate(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience, gcloud}, Time: time.Now()})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever hangs up needs no answer
}
