package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spf13/cobra"
)

var errNotAccepted = errors.New("a cloud would refuse this token; the report above says why")

func verifyCommand() *cobra.Command {
	var issuer, audience, caBundle, format string
	c := &cobra.Command{
		Use:   "verify FILE|-",
		Short: "Check a token against the published documents, as a cloud would",
		Long: `verify reads a service account token from a file or standard input, fetches the issuer's documents as a stranger, and names every check
that a cloud makes. The token is never printed.`,
		Example: "  kubectl create token payments -n prod --audience sts.amazonaws.com | kube-iam-assume verify - --issuer https://oidc.example.com/prod --audience sts.amazonaws.com",
		Args:    exactly(1, "a file with a token, or - for standard input"),
		RunE: func(c *cobra.Command, args []string) error {
			token, err := readInput(args[0], c.InOrStdin())
			if err != nil {
				return err
			}
			s, err := newStranger(caBundle)
			if err != nil {
				return err
			}
			r := verify(c.Context(), s, strings.TrimSpace(string(token)), issuer, audience, time.Now())
			if err := r.print(c.OutOrStdout(), format); err != nil {
				return err
			}
			if r.failed() {
				return errNotAccepted
			}
			return nil
		},
	}
	c.Flags().StringVar(&issuer, "issuer", "", "issuer `URL` that the cloud has registered")
	c.Flags().StringVar(&audience, "audience", "", "the `audience` that the cloud wants, such as sts.amazonaws.com")
	c.Flags().StringVar(&caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuer's host, if it is not a public one")
	outputFlag(c, &format)
	for _, name := range []string{"issuer", "audience"} {
		_ = c.MarkFlagRequired(name) // it exists
	}
	return c
}

var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// verify goes through the checks in the order in which a cloud gets to them.
func verify(ctx context.Context, s stranger, token, issuer, audience string, now time.Time) *report {
	r := &report{}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if !r.hold("form", err == nil, "a JWT signed with RS256, ES256, ES384 or ES512") {
		return r
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); !r.hold("claims", err == nil, "registered claims are readable") {
		return r
	}
	header := parsed.Headers[0]
	d, err := s.documents(ctx, issuer)
	if !r.hold("documents", err == nil, "%s", orError(err, "discovery document and keys are reachable as a stranger, without redirects")) {
		return r
	}
	r.hold("issuer of the documents", d.Issuer == issuer, "%q, registered is %q: they must be equal byte for byte", d.Issuer, issuer)
	r.hold("issuer of the token", claims.Issuer == issuer, "%q: it must be equal byte for byte", claims.Issuer)
	key, ok := d.keys.ByID(header.KeyID)
	if r.hold("key", ok, "key ID %q; published are %d keys", header.KeyID, len(d.keys)) {
		r.hold("algorithm", header.Algorithm == key.Algorithm() && slices.Contains(d.Algorithms, header.Algorithm), "%s; the discovery document lists %v", header.Algorithm, d.Algorithms)
		r.hold("signature", parsed.Claims(key.Public(), &jwt.Claims{}) == nil, "by the key %s", key.ID())
	}
	r.hold("audience", claims.Audience.Contains(audience), "%q; wanted is %q", claims.Audience, audience)
	verifyTimes(r, claims, now)
	warnOfClouds(r, claims, header.Algorithm, len(d.keys))
	return r
}

func verifyTimes(r *report, claims jwt.Claims, now time.Time) {
	if !r.hold("times are there", claims.Expiry != nil && claims.IssuedAt != nil, "exp and iat") {
		return
	}
	expiry, issued := claims.Expiry.Time(), claims.IssuedAt.Time()
	r.hold("not expired", now.Before(expiry), "expires %s, in %s", expiry.UTC().Format(time.RFC3339), expiry.Sub(now).Round(time.Second))
	r.hold("not from the future", !issued.After(now.Add(time.Minute)), "issued %s; if that is ahead, the API server's clock is", issued.UTC().Format(time.RFC3339))
	r.warn("Google: lifetime", expiry.Sub(issued) > 24*time.Hour, "%s; Google accepts at most 24h", expiry.Sub(issued))
}

func warnOfClouds(r *report, claims jwt.Claims, algorithm string, keys int) {
	r.warn("AWS, Entra: one audience", len(claims.Audience) != 1, "%d audiences; project one token for each cloud", len(claims.Audience))
	r.warn("Entra: algorithm", algorithm != "RS256", "%s; Entra documents RS256 only", algorithm)
	r.warn("Google: algorithm", algorithm != "RS256" && algorithm != "ES256", "%s; Google accepts RS256 and ES256", algorithm)
	r.warn("Google: subject", len(claims.Subject) > 127, "%d bytes; Google accepts 127: map another claim to google.subject", len(claims.Subject))
	r.warn("OCI: number of keys", keys > 10, "%d keys; OCI API Gateway reads 10", keys)
}

func orError(err error, good string) string {
	if err != nil {
		return fmt.Sprint(err)
	}
	return good
}
