// Package token checks a service account token in the way of a cloud, and names every check that it makes.
package token

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

// Algorithms are those that API servers sign with.
var Algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// Verify goes through the checks in the order in which a cloud gets to them.
func Verify(ctx context.Context, s stranger.Client, token, issuer, audience string, now time.Time) *command.Report {
	r := &command.Report{}
	parsed, err := jwt.ParseSigned(token, Algorithms)
	if !r.Hold("form", err == nil, "a JWT signed with RS256, ES256, ES384 or ES512") {
		return r
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); !r.Hold("claims", err == nil, "registered claims are readable") {
		return r
	}
	header := parsed.Headers[0]
	d, err := s.Documents(ctx, issuer)
	if !r.Hold("documents", err == nil, "%s", OrError(err, "discovery document and keys are reachable as a stranger, without redirects")) {
		return r
	}
	r.Hold("issuer of the documents", d.Issuer == issuer, "%q, registered is %q: they must be equal byte for byte", d.Issuer, issuer)
	r.Hold("issuer of the token", claims.Issuer == issuer, "%q: it must be equal byte for byte", claims.Issuer)
	key, ok := d.Keys.ByID(header.KeyID)
	if r.Hold("key", ok, "key ID %q; published are %d keys", header.KeyID, len(d.Keys)) {
		r.Hold("algorithm", header.Algorithm == key.Algorithm() && slices.Contains(d.Algorithms, header.Algorithm), "%s; the discovery document lists %v", header.Algorithm, d.Algorithms)
		r.Hold("signature", parsed.Claims(key.Public(), &jwt.Claims{}) == nil, "by the key %s", key.ID())
	}
	r.Hold("audience", claims.Audience.Contains(audience), "%q; wanted is %q", claims.Audience, audience)
	verifyTimes(r, claims, now)
	warnOfClouds(r, claims, header.Algorithm, len(d.Keys))
	return r
}

func verifyTimes(r *command.Report, claims jwt.Claims, now time.Time) {
	if !r.Hold("times are there", claims.Expiry != nil && claims.IssuedAt != nil, "exp and iat") {
		return
	}
	expiry, issued := claims.Expiry.Time(), claims.IssuedAt.Time()
	r.Hold("not expired", now.Before(expiry), "expires %s, in %s", expiry.UTC().Format(time.RFC3339), expiry.Sub(now).Round(time.Second))
	r.Hold("not from the future", !issued.After(now.Add(time.Minute)), "issued %s; if that is ahead, the API server's clock is", issued.UTC().Format(time.RFC3339))
	r.Warn("Google: lifetime", expiry.Sub(issued) > 24*time.Hour, "%s; Google accepts at most 24h", expiry.Sub(issued))
}

func warnOfClouds(r *command.Report, claims jwt.Claims, algorithm string, keys int) {
	r.Warn("AWS, Entra: one audience", len(claims.Audience) != 1, "%d audiences; project one token for each cloud", len(claims.Audience))
	r.Warn("Entra: algorithm", algorithm != "RS256", "%s; Entra documents RS256 only", algorithm)
	r.Warn("Google: algorithm", algorithm != "RS256" && algorithm != "ES256", "%s; Google accepts RS256 and ES256", algorithm)
	r.Warn("Google: subject", len(claims.Subject) > 127, "%d bytes; Google accepts 127: map another claim to google.subject", len(claims.Subject))
	r.Warn("OCI: number of keys", keys > 10, "%d keys; OCI API Gateway reads 10", keys)
}

// OrError is the error, or what to say where there is none.
func OrError(err error, good string) string {
	if err != nil {
		return fmt.Sprint(err)
	}
	return good
}
