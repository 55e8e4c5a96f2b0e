package entra

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// token is the token endpoint: client credentials (RFC 6749 section 4.4) by an assertion (RFC 7523).
func (e *Tenant) token(w http.ResponseWriter, r *http.Request) {
	if !e.known(w, r) {
		return
	}
	e.mu.Lock()
	e.logins++
	e.mu.Unlock()
	token, err := e.issued(r)
	var refused loginError
	switch {
	case errors.As(err, &refused):
		e.fail(w, refused)
	case err != nil:
		http.Error(w, "Service Unavailable", http.StatusServiceUnavailable)
	default:
		reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(tokenLifetime.Seconds()) - 1, "ext_expires_in": int(tokenLifetime.Seconds()) - 1, "access_token": token})
	}
}

func (e *Tenant) issued(r *http.Request) (string, error) {
	if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" {
		return "", refused("unsupported_grant_type", 70003, http.StatusBadRequest, "The app requested an unsupported grant type '%s'.", r.PostForm.Get("grant_type"))
	}
	resource, ok := resourceOf(r.PostForm.Get("scope"))
	if !ok {
		return "", refused("invalid_scope", 1002012, http.StatusBadRequest, "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.", r.PostForm.Get("scope"))
	}
	clientID := r.PostForm.Get("client_id")
	e.mu.Lock()
	identity, known := e.identities[clientID]
	e.mu.Unlock()
	if !known {
		return "", refused("unauthorized_client", 700016, http.StatusBadRequest, "Application with identifier '%s' was not found in the directory '%s'.", clientID, e.ID)
	}
	if r.PostForm.Get("client_assertion_type") != assertionType || r.PostForm.Get("client_assertion") == "" {
		return "", refused("invalid_client", 7000216, http.StatusUnauthorized, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.")
	}
	if err := e.verify(r.Context(), identity, r.PostForm.Get("client_assertion")); err != nil {
		return "", err
	}
	return e.sign(clientID, identity, resource)
}

// resourceOf finds the one that a scope names. Libraries add "openid" and the like, which mean nothing here.
func resourceOf(scope string) (string, bool) {
	for word := range strings.FieldsSeq(scope) {
		if resource, ok := strings.CutSuffix(word, "/.default"); ok {
			return resource, true
		}
	}
	return "", false
}

// verify holds an assertion against the identity's federated credentials, and then against the issuer's documents.
func (e *Tenant) verify(ctx context.Context, identity Identity, assertion string) error {
	parsed, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256})
	var claims jwt.Claims
	if err != nil || parsed.UnsafeClaimsWithoutVerification(&claims) != nil {
		return refused("invalid_request", 50027, http.StatusBadRequest, "JWT token is invalid or malformed.")
	}
	if err := matching(identity.Credentials, claims); err != nil {
		return err
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, e.network.Client()), claims.Issuer)
	if err != nil {
		return refused("invalid_request", 90061, http.StatusBadRequest, "Request to External OIDC endpoint failed.")
	}
	rules := &oidc.Config{SkipClientIDCheck: true, SkipExpiryCheck: true, SupportedSigningAlgs: []string{oidc.RS256}}
	if _, err := provider.Verifier(rules).Verify(ctx, assertion); err != nil {
		return refused("invalid_client", 7000272, http.StatusUnauthorized, "The certificate with identifier %s used to sign the federated credential could not be found in the metadata of identity provider %s. "+
			"Please validate that your Identity Provider's metadata exposes the key used to sign the incoming token.", parsed.Headers[0].KeyID, claims.Issuer)
	}
	if claims.ValidateWithLeeway(jwt.Expected{Time: e.now()}, 0) != nil || claims.Expiry == nil {
		return refused("invalid_client", 700024, http.StatusUnauthorized, "Client assertion is not within its valid time range. Current time: %s.", e.now().UTC())
	}
	return nil
}

// matching names the first member for which no credential is left.
func matching(credentials []Federated, claims jwt.Claims) error {
	const check = "Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
	left := slices.Clone(credentials)
	for _, member := range []struct {
		code    int
		name    string
		value   string
		differs func(Federated) bool
	}{
		{700211, "issuer", claims.Issuer, func(f Federated) bool { return f.Issuer != claims.Issuer }},
		{700213, "subject", claims.Subject, func(f Federated) bool { return f.Subject != claims.Subject }},
		{700212, "audience", strings.Join(claims.Audience, " "), func(f Federated) bool { return len(claims.Audience) != 1 || claims.Audience[0] != f.Audience }},
	} {
		if left = slices.DeleteFunc(left, member.differs); len(left) == 0 {
			return refused("invalid_client", member.code, http.StatusUnauthorized, "No matching federated identity record found for presented assertion %s '%s'. %s", member.name, member.value, check)
		}
	}
	return nil
}

// sign makes an access token for a resource, of version 1.0, which Azure Storage takes.
func (e *Tenant) sign(clientID string, identity Identity, resource string) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: e.key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", err
	}
	now := e.now()
	return jwt.Signed(signer).Claims(map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + e.ID + "/", "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLifetime).Unix(),
		"appid": clientID, "appidacr": "2", "idp": "https://sts.windows.net/" + e.ID + "/", "oid": identity.ObjectID, "sub": identity.ObjectID,
		"tid": e.ID, "uti": rand.Text(), "ver": "1.0",
	}).Serialize()
}
