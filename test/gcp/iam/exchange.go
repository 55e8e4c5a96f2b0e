package iam

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/api/iam/v1"
)

// ErrIssuer is what Google says of an upload that it can't use and of documents that it can't read, in the same words.
var ErrIssuer = errors.New("invalid_grant: Error connecting to the given credential's issuer")

// ErrTarget is what is said of a provider that exchanges nothing.
var ErrTarget = errors.New("invalid_target")

// ErrGrant is what a token is refused with. The rest of the text says why.
var ErrGrant = errors.New("invalid_grant")

const maxLifetime = 24 * time.Hour

// Exchange does with a token what Google's STS does where keys are uploaded: it verifies by them alone. It reads nothing over the network; a
// provider without keys is refused as one whose documents can't be reached.
func (s *Server) Exchange(provider, token string) error {
	found := s.Provider(provider)
	s.mu.Lock()
	now := s.now()
	s.mu.Unlock()
	switch {
	case found == nil, found.State != "ACTIVE", found.Disabled:
		return fmt.Errorf("%w: the provider is disabled or deleted, or there is none", ErrTarget)
	case found.Oidc == nil:
		return fmt.Errorf("%w: the provider takes no OIDC token", ErrGrant)
	}
	keys, err := uploaded(found.Oidc.JwksJson)
	if err != nil {
		return err
	}
	claims, err := verify(keys, token)
	if err != nil {
		return err
	}
	return check(found, claims, now)
}

// jwkMembers are all that the documentation allows.
var jwkMembers = []string{"kty", "alg", "use", "kid", "n", "e", "x", "y", "crv"}

// uploaded reads the keys as strictly as the documentation is. That a key of another algorithm spoils the set is assumed: nothing is
// documented, and who relies on the opposite learns it in production.
func uploaded(document string) ([]jose.JSONWebKey, error) {
	var raw struct {
		Keys []map[string]string `json:"keys"`
	}
	var set jose.JSONWebKeySet
	if json.Unmarshal([]byte(document), &raw) != nil || json.Unmarshal([]byte(document), &set) != nil || len(raw.Keys) != len(set.Keys) {
		return nil, ErrIssuer
	}
	for i, members := range raw.Keys {
		for name := range members {
			if !slices.Contains(jwkMembers, name) {
				return nil, ErrIssuer
			}
		}
		key := set.Keys[i]
		if !key.Valid() || !key.IsPublic() || key.Use != "sig" || key.KeyID == "" || key.Algorithm != "RS256" && key.Algorithm != "ES256" {
			return nil, ErrIssuer
		}
	}
	return set.Keys, nil
}

func verify(keys []jose.JSONWebKey, token string) (claims jwt.Claims, err error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil || len(parsed.Headers) != 1 {
		return claims, fmt.Errorf("%w: the token is not a JWT signed with RS256 or ES256", ErrGrant)
	}
	header := parsed.Headers[0]
	for _, key := range keys {
		if key.KeyID == header.KeyID && key.Algorithm == header.Algorithm && parsed.Claims(key, &claims) == nil {
			return claims, nil
		}
	}
	return claims, fmt.Errorf("%w: the token is signed by none of the uploaded keys", ErrGrant)
}

func check(provider *iam.WorkloadIdentityPoolProvider, claims jwt.Claims, now time.Time) error {
	if claims.Issuer != provider.Oidc.IssuerUri {
		return fmt.Errorf("%w: the issuer in the token is %q, the provider's is %q", ErrGrant, claims.Issuer, provider.Oidc.IssuerUri)
	}
	audiences := provider.Oidc.AllowedAudiences
	if len(audiences) == 0 {
		audiences = []string{Audience(provider.Name), strings.TrimPrefix(Audience(provider.Name), "https:")}
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(audiences, a) }) {
		return fmt.Errorf("%w: the audience in the token %q is none of %q", ErrGrant, claims.Audience, audiences)
	}
	switch {
	case claims.Expiry == nil || claims.IssuedAt == nil:
		return fmt.Errorf("%w: the token says no exp or no iat", ErrGrant)
	case !now.Before(claims.Expiry.Time()):
		return fmt.Errorf("%w: the token has expired", ErrGrant)
	case claims.IssuedAt.Time().After(now):
		return fmt.Errorf("%w: the token is issued in the future", ErrGrant)
	case claims.Expiry.Time().Sub(claims.IssuedAt.Time()) > maxLifetime:
		return fmt.Errorf("%w: the token lives longer than 24 hours", ErrGrant)
	}
	const maxSubject = 127
	if provider.AttributeMapping["google.subject"] == "assertion.sub" && len(claims.Subject) > maxSubject {
		return fmt.Errorf("%w: google.subject has %d bytes, at most %d", ErrGrant, len(claims.Subject), maxSubject)
	}
	return nil
}

// Audience is what a token for a provider without allowedAudiences must be for; it may do without "https:".
func Audience(provider string) string { return "https://iam.googleapis.com/" + provider }
