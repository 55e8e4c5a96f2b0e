package pubsub

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	jwtType         = "urn:ietf:params:oauth:token-type:jwt"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"

	maxSubject  = 127 // bytes of google.subject
	maxLifetime = 24 * time.Hour
)

// Provider is a provider of a Workload Identity pool, for tokens of one issuer. google.subject is assertion.sub.
type Provider struct {
	Issuer    string
	Keys      func() []byte                    // the JWKS uploaded to it; without, the issuer's published documents are read
	Documents *http.Client                     // reads them
	Audiences []string                         // that it allows; none are its default ones
	Condition func(claims map[string]any) bool // its attribute condition
	Disabled  bool
}

// oauthError is an error of RFC 6749 section 5.2.
type oauthError struct{ code, description string }

func (e oauthError) Error() string { return e.code + ": " + e.description }

func invalidGrant(format string, args ...any) error {
	return oauthError{"invalid_grant", fmt.Sprintf(format, args...)}
}

// exchange is the Security Token Service's method token, RFC 8693.
func (g *Google) exchange(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.logins++
	g.mu.Unlock()
	token, err := g.exchanged(r)
	var refused oauthError
	if errors.As(err, &refused) {
		reply(w, http.StatusBadRequest, map[string]any{"error": refused.code, "error_description": refused.description})
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"access_token": token, "issued_token_type": accessTokenType, "token_type": "Bearer", "expires_in": int(tokenLifetime.Seconds()),
	})
}

func (g *Google) exchanged(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil {
		return "", oauthError{"invalid_request", "Malformed body"}
	}
	for field, want := range map[string]string{"grant_type": exchangeGrant, "requested_token_type": accessTokenType, "subject_token_type": jwtType} {
		if got := r.PostForm.Get(field); got != want {
			return "", oauthError{"invalid_request", fmt.Sprintf("Invalid value for %q: %q", field, got)}
		}
	}
	scopes := strings.Fields(r.PostForm.Get("scope"))
	if len(scopes) == 0 {
		return "", oauthError{"invalid_scope", "A scope is required."}
	}
	name, ok := strings.CutPrefix(r.PostForm.Get("audience"), "//iam.googleapis.com/")
	if !ok {
		return "", oauthError{"invalid_request", `Invalid value for "audience". This value should be the full resource name of the Identity Provider.`}
	}
	g.mu.Lock()
	provider, known := g.providers[name]
	g.mu.Unlock()
	if !known || provider.Disabled {
		return "", oauthError{"invalid_target", `The target service indicated by the "audience" parameters is invalid. ` +
			`This might either be because the pool or provider is disabled or deleted or because it doesn't exist.`}
	}
	subject, err := g.verify(r.Context(), name, provider, r.PostForm.Get("subject_token"))
	if err != nil {
		return "", err
	}
	token := "ya29.d." + rand.Text()
	g.issue(token, login{principal: Principal(name, subject), scopes: scopes, expires: g.now().Add(tokenLifetime)})
	return token, nil
}

// verify returns the subject of a token of the provider's issuer, if it is one.
func (g *Google) verify(ctx context.Context, name string, p Provider, token string) (string, error) {
	verifier, err := p.verifier(ctx, g.now)
	if err != nil {
		return "", invalidGrant("Error connecting to the given credential's issuer.") // also of documents that are malformed
	}
	verified, err := verifier.Verify(ctx, token)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return "", invalidGrant("ID Token has expired.")
	case err != nil:
		return "", invalidGrant("Invalid token signature, or malformed token.")
	case verified.Issuer != p.Issuer:
		return "", invalidGrant("The issuer in ID Token %s does not match the expected one %s.", verified.Issuer, p.Issuer)
	}
	allowed := p.Audiences
	if len(allowed) == 0 {
		allowed = []string{"//iam.googleapis.com/" + name, "https://iam.googleapis.com/" + name}
	}
	if !slices.ContainsFunc(verified.Audience, func(audience string) bool { return slices.Contains(allowed, audience) }) {
		return "", invalidGrant("The audience in ID Token %q does not match the expected audience.", verified.Audience)
	}
	if verified.Expiry.Sub(verified.IssuedAt) > maxLifetime || verified.IssuedAt.After(g.now()) {
		return "", invalidGrant("The lifetime of the ID Token is longer than %s, or it is not valid yet.", maxLifetime)
	}
	if len(verified.Subject) > maxSubject {
		return "", invalidGrant("The size of mapped attribute google.subject exceeds the %d bytes limit.", maxSubject)
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return "", invalidGrant("Malformed token.")
	}
	if p.Condition != nil && !p.Condition(claims) {
		return "", oauthError{"unauthorized_client", "The given credential is rejected by the attribute condition."}
	}
	return verified.Subject, nil
}

func (p Provider) verifier(ctx context.Context, now func() time.Time) (*oidc.IDTokenVerifier, error) {
	rules := &oidc.Config{SkipClientIDCheck: true, SkipIssuerCheck: true, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}, Now: now}
	if p.Keys != nil {
		var uploaded jose.JSONWebKeySet
		if err := json.Unmarshal(p.Keys(), &uploaded); err != nil {
			return nil, err
		}
		keys := &oidc.StaticKeySet{}
		for _, key := range uploaded.Keys {
			keys.PublicKeys = append(keys.PublicKeys, crypto.PublicKey(key.Key))
		}
		return oidc.NewVerifier(p.Issuer, keys, rules), nil
	}
	found, err := oidc.NewProvider(oidc.ClientContext(ctx, p.Documents), p.Issuer)
	if err != nil {
		return nil, err
	}
	return found.Verifier(rules), nil
}

// generateAccessToken is IAM Credentials' method of that name.
func (g *Google) generateAccessToken(w http.ResponseWriter, r *http.Request) {
	email, ok := strings.CutSuffix(r.PathValue("call"), ":generateAccessToken")
	if !ok {
		http.NotFound(w, r)
		return
	}
	l, ok := g.caller(w, r, cloudPlatform, "https://www.googleapis.com/auth/iam")
	if !ok {
		return
	}
	var body struct {
		Scope    []string `json:"scope"`
		Lifetime string   `json:"lifetime"`
	}
	lifetime := time.Duration(0)
	err := json.NewDecoder(r.Body).Decode(&body)
	if err == nil {
		lifetime, err = time.ParseDuration(body.Lifetime)
	}
	if err != nil || len(body.Scope) == 0 || lifetime <= 0 || lifetime > time.Hour {
		fail(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Request contains an invalid argument.")
		return
	}
	g.mu.Lock()
	members, known := g.accounts[email]
	g.mu.Unlock()
	switch {
	case !known:
		fail(w, http.StatusNotFound, "NOT_FOUND", "Not found; Gaia id not found for email %s", email)
	case !allowed(l.principal, members):
		fail(w, http.StatusForbidden, "PERMISSION_DENIED", "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).")
	default:
		token, expires := "ya29.c."+rand.Text(), g.now().Add(lifetime)
		g.issue(token, login{principal: "serviceAccount:" + email, scopes: body.Scope, expires: expires})
		reply(w, http.StatusOK, map[string]any{"accessToken": token, "expireTime": expires.UTC().Format(time.RFC3339)})
	}
}
