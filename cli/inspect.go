package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spf13/cobra"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/cli/token"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func inspectCommand() *cobra.Command {
	var caBundle string
	var output command.Output
	c := &cobra.Command{
		Use:   "inspect FILE|-|URL",
		Short: "Open a snapshot, or an issuer's documents, and explain it",
		Long: `inspect explains a signed snapshot (a file, or standard input) or what an issuer publishes (its https URL). It believes nothing: what a
publisher would make of a snapshot depends on whom it trusts.`,
		Example: "  kube-iam-assume inspect https://oidc.example.com/prod\n  kube-iam-assume inspect snapshot.jws",
		Args:    exactly(1, "a file, - or an issuer URL"),
		RunE: func(c *cobra.Command, args []string) error {
			r := &command.Report{}
			if err := inspect(c, r, args[0], caBundle); err != nil {
				return err
			}
			return r.Print(c.OutOrStdout(), output)
		},
	}
	c.Flags().StringVar(&caBundle, "ca-bundle", "", "PEM `file` with the authority of the issuer's host, if it is not a public one")
	output.Flag(c)
	return c
}

func inspect(c *cobra.Command, r *command.Report, what, caBundle string) error {
	if strings.Contains(what, "://") {
		s, err := stranger.New(caBundle, nil)
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

func inspectIssuer(ctx context.Context, r *command.Report, s stranger.Client, issuer string) error {
	d, err := s.Documents(ctx, issuer)
	if err != nil {
		return err
	}
	r.Hold("issuer", d.Issuer == issuer, "%s", d.Issuer)
	r.Tell("keys at", "%s", d.JWKSURI)
	r.Tell("algorithms", "%v", d.Algorithms)
	r.Tell("content type", "%s", d.Header.Get("Content-Type"))
	r.Tell("cache", "%s", d.Header.Get("Cache-Control"))
	if n, ok := rotation.PublicationOf(d.Body); ok {
		r.Tell("publication", "%d", n)
	}
	r.Warn("cache", !strings.Contains(d.Header.Get("Cache-Control"), "max-age"), "no max-age: Cloud Storage, for one, would say an hour")
	tellKeys(r, d.Keys)
	return nil
}

func tellKeys(r *command.Report, keys jwks.Set) {
	for _, key := range keys {
		note := ""
		if !key.HasDerivedID() {
			note = ", ID chosen by an external signer"
		}
		r.Tell("key", "%s (%s%s)", key.ID(), key.Algorithm(), note)
		r.Warn("key "+key.ID(), key.Algorithm() != "RS256", "Entra documents RS256 only")
	}
	r.Warn("number of keys", len(keys) > 10, "%d; OCI API Gateway reads 10", len(keys))
}

func inspectSnapshot(r *command.Report, o snapshot.Opened, now time.Time) {
	r.Tell("cluster", "%s", o.Cluster)
	r.Tell("for the publishers", "%s", strings.Join(o.Audience, ", "))
	r.Tell("issuer", "%s", o.Issuer)
	r.Tell("sequence number", "%d (read at %s)", o.Seq, time.UnixMilli(o.Seq).UTC().Format(time.RFC3339))
	r.Tell("made", "%s, %s ago", o.IssuedAt.Format(time.RFC3339), now.Sub(o.IssuedAt).Round(time.Second))
	r.Warn("expired", !now.Before(o.Expires), "at %s: publishers refuse it", o.Expires.Format(time.RFC3339))
	completeness := "complete: keys that it lacks retire"
	if !o.Complete() {
		completeness = "additive: it can add keys and retire none"
	}
	r.Tell("API servers", "%d of %d read; %s", o.APIServers.Read, o.APIServers.Listed, completeness)
	tellKeys(r, o.Keys)
	own := o.Check(snapshot.Expected{Cluster: o.Cluster, Publisher: first(o.Audience), Issuer: o.Issuer}, o.IssuedAt)
	r.Hold("signature by the snapshot key", own == nil, "%s", token.OrError(own, o.Key.ID()))
	for _, attestation := range o.Attestations {
		tellAttestation(r, o, attestation)
	}
	if len(o.Attestations) == 0 {
		r.Tell("attestations", "none: believed only if the snapshot key is pinned or remembered")
	}
	r.Tell("exporter", "%s", o.Exporter)
}

func tellAttestation(r *command.Report, o snapshot.Opened, attestation string) {
	parsed, err := jwt.ParseSigned(attestation, token.Algorithms)
	var claims jwt.Claims
	if err == nil {
		err = parsed.UnsafeClaimsWithoutVerification(&claims)
	}
	if !r.Hold("attestation", err == nil, "a service account token") {
		return
	}
	fits := claims.Issuer == o.Issuer && len(claims.Audience) == 1 && claims.Audience[0] == snapshot.AttestationAudience(o.Key)
	r.Hold("attestation", fits, "by key %s, as %s, until %s: counts if that key is trusted and the account is the enrolled one",
		parsed.Headers[0].KeyID, claims.Subject, claims.Expiry.Time().UTC().Format(time.RFC3339))
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}
