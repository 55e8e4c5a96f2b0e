package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func inspectCommand() *cobra.Command {
	var caBundle, format string
	c := &cobra.Command{
		Use:   "inspect FILE|-|URL",
		Short: "Open a snapshot, or an issuer's documents, and explain it",
		Long: `inspect explains a signed snapshot (a file, or standard input) or what an issuer publishes (its https URL). It believes nothing: what a
publisher would make of a snapshot depends on whom it trusts.`,
		Example: "  kube-iam-assume inspect https://oidc.example.com/prod\n  kube-iam-assume inspect snapshot.jws",
		Args:    exactly(1, "a file, - or an issuer URL"),
		RunE: func(c *cobra.Command, args []string) error {
			r := &report{}
			if err := inspect(c, r, args[0], caBundle); err != nil {
				return err
			}
			return r.print(c.OutOrStdout(), format)
		},
	}
	c.Flags().StringVar(&caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuer's host, if it is not a public one")
	outputFlag(c, &format)
	return c
}

func inspect(c *cobra.Command, r *report, what, caBundle string) error {
	if strings.Contains(what, "://") {
		s, err := newStranger(caBundle)
		if err != nil {
			return err
		}
		return inspectIssuer(c.Context(), r, s, strings.TrimSuffix(strings.TrimSuffix(what, "/openid/v1/jwks"), "/.well-known/openid-configuration"))
	}
	data, err := readInput(what, c.InOrStdin())
	if err != nil {
		return err
	}
	opened, err := snapshot.Open([]byte(strings.TrimSpace(string(data))))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	inspectSnapshot(r, opened, time.Now())
	return nil
}

func inspectIssuer(ctx context.Context, r *report, s stranger, issuer string) error {
	d, err := s.documents(ctx, issuer)
	if err != nil {
		return err
	}
	r.hold("issuer", d.Issuer == issuer, "%s", d.Issuer)
	r.tell("keys at", "%s", d.JWKSURI)
	r.tell("algorithms", "%v", d.Algorithms)
	r.tell("content type", "%s", d.header.Get("Content-Type"))
	r.tell("cache", "%s", d.header.Get("Cache-Control"))
	if n, ok := rotation.PublicationOf(d.body); ok {
		r.tell("publication", "%d", n)
	}
	r.warn("cache", !strings.Contains(d.header.Get("Cache-Control"), "max-age"), "no max-age: Cloud Storage, for one, would say an hour")
	tellKeys(r, d.keys)
	return nil
}

func tellKeys(r *report, keys jwks.Set) {
	for _, key := range keys {
		note := ""
		if !key.HasDerivedID() {
			note = ", ID chosen by an external signer"
		}
		r.tell("key", "%s (%s%s)", key.ID(), key.Algorithm(), note)
		r.warn("key "+key.ID(), key.Algorithm() != "RS256", "Entra documents RS256 only")
	}
	r.warn("number of keys", len(keys) > 10, "%d; OCI API Gateway reads 10", len(keys))
}

func inspectSnapshot(r *report, o snapshot.Opened, now time.Time) {
	r.tell("cluster", "%s", o.Cluster)
	r.tell("for the publishers", "%s", strings.Join(o.Audience, ", "))
	r.tell("issuer", "%s", o.Issuer)
	r.tell("sequence number", "%d (read at %s)", o.Seq, time.UnixMilli(o.Seq).UTC().Format(time.RFC3339))
	r.tell("made", "%s, %s ago", o.IssuedAt.Format(time.RFC3339), now.Sub(o.IssuedAt).Round(time.Second))
	r.warn("expired", !now.Before(o.Expires), "at %s: publishers refuse it", o.Expires.Format(time.RFC3339))
	completeness := "complete: keys that it lacks retire"
	if !o.Complete() {
		completeness = "additive: it can add keys and retire none"
	}
	r.tell("API servers", "%d of %d read; %s", o.APIServers.Read, o.APIServers.Listed, completeness)
	tellKeys(r, o.Keys)
	own := o.Check(snapshot.Expected{Cluster: o.Cluster, Publisher: first(o.Audience), Issuer: o.Issuer}, o.IssuedAt)
	r.hold("signature by the snapshot key", own == nil, "%s", orError(own, o.Key.ID()))
	for _, token := range o.Attestations {
		tellAttestation(r, o, token)
	}
	if len(o.Attestations) == 0 {
		r.tell("attestations", "none: believed only if the snapshot key is pinned or remembered")
	}
	r.tell("exporter", "%s", o.Exporter)
}

func tellAttestation(r *report, o snapshot.Opened, token string) {
	parsed, err := jwt.ParseSigned(token, algorithms)
	var claims jwt.Claims
	if err == nil {
		err = parsed.UnsafeClaimsWithoutVerification(&claims)
	}
	if !r.hold("attestation", err == nil, "a service account token") {
		return
	}
	fits := claims.Issuer == o.Issuer && len(claims.Audience) == 1 && claims.Audience[0] == snapshot.AttestationAudience(o.Key)
	r.hold("attestation", fits, "by key %s, as %s, until %s: counts if that key is trusted and the account is the enrolled one",
		parsed.Headers[0].KeyID, claims.Subject, claims.Expiry.Time().UTC().Format(time.RFC3339))
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}
