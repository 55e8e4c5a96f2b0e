package iam_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/api/googleapi"
	googleiam "google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

const issuer = "https://oidc.example/prod-eu1"

type providers = googleiam.ProjectsLocationsWorkloadIdentityPoolsProvidersService

func open(t *testing.T, server *iam.Server) *providers {
	t.Helper()
	service, err := googleiam.NewService(t.Context(), server.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	return service.Projects.Locations.WorkloadIdentityPools.Providers
}

// What Google's own library makes of it, from the write to what is then there.
func TestPatch(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	name, api := server.CreateProvider(t, "prod-eu1", issuer), open(t, server)
	server.SetPolls(2)
	update := &googleiam.WorkloadIdentityPoolProvider{DisplayName: "not in the mask", Oidc: &googleiam.Oidc{JwksJson: "anything at all"}}
	op, err := api.Patch(name, update).UpdateMask("oidc.jwksJson").Do()
	if err != nil || op.Done || !strings.HasPrefix(op.Name, name+"/operations/") {
		t.Fatalf("%+v, %v", op, err)
	}
	for _, want := range []bool{false, true} {
		if server.Keys(name) != "" {
			t.Error("written before it was done")
		}
		if op, err = api.Operations.Get(op.Name).Do(); err != nil || op.Done != want {
			t.Fatalf("%+v, %v; want done %t", op, err, want)
		}
	}
	got, err := api.Get(name).Do()
	if err != nil || got.Oidc.JwksJson != "anything at all" || got.Oidc.IssuerUri != issuer || got.DisplayName != "" || got.State != "ACTIVE" {
		t.Errorf("%+v, %v", got, err)
	}
	if op.Error != nil || !json.Valid(op.Response) {
		t.Errorf("%+v", op)
	}
	if calls := server.Calls(); !slices.Equal(calls, []string{iam.Patch, iam.Operation, iam.Operation, iam.Get}) {
		t.Errorf("calls %q", calls)
	}
}

func TestPatchRefuses(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	name, api := server.CreateProvider(t, "prod-eu1", issuer), open(t, server)
	keys := &googleiam.WorkloadIdentityPoolProvider{Oidc: &googleiam.Oidc{JwksJson: "x"}}
	for what, test := range map[string]struct {
		mask, name string
		update     *googleiam.WorkloadIdentityPoolProvider
		status     int
	}{
		"no mask":            {"", name, keys, 400},
		"an unknown field":   {"oidc.keys", name, keys, 400},
		"a field of outputs": {"state", name, keys, 400},
		"one of two unknown": {"oidc.jwksJson,etag", name, keys, 400},
		"keys not there":     {"oidc.jwksJson", name, &googleiam.WorkloadIdentityPoolProvider{}, 400},
		"an issuer by http":  {"oidc.issuerUri", name, &googleiam.WorkloadIdentityPoolProvider{Oidc: &googleiam.Oidc{IssuerUri: "http://x"}}, 400},
		"no such provider":   {"oidc.jwksJson", iam.Name("another"), keys, 404},
		"no such path":       {"oidc.jwksJson", "projects/x", keys, 404},
	} {
		_, err := api.Patch(test.name, test.update).UpdateMask(test.mask).Do()
		var answer *googleapi.Error
		if !errors.As(err, &answer) || answer.Code != test.status || answer.Message == "" {
			t.Errorf("%s: %v, want %d", what, err, test.status)
		}
	}
	if server.Keys(name) != "" {
		t.Error("something was written")
	}
}

// signer is a cluster's key.
type signer struct {
	id, algorithm string
	private       any
}

func (s signer) jwk() jose.JSONWebKey {
	key := jose.JSONWebKey{Key: s.private, KeyID: s.id, Algorithm: s.algorithm, Use: "sig"}
	return key.Public()
}

func (s signer) token(t *testing.T, change func(jwt.Claims) jwt.Claims) string {
	t.Helper()
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.algorithm), Key: jose.JSONWebKey{Key: s.private, KeyID: s.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	claims := change(jwt.Claims{
		Issuer: issuer, Subject: "system:serviceaccount:a:b", Audience: jwt.Audience{iam.Audience(iam.Name("prod-eu1"))},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	})
	token, err := jwt.Signed(made).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rs256 = signer{"r", "RS256", must(rsa.GenerateKey(rand.Reader, 2048))}
	es256 = signer{"e", "ES256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	es384 = signer{"f", "ES384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))}
)

func upload(t *testing.T, server *iam.Server, name string, keys ...signer) {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, key := range keys {
		set.Keys = append(set.Keys, key.jwk())
	}
	document := must(json.Marshal(set))
	server.Edit(t, name, func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = string(document) })
}

func TestExchangeJudgesTokens(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	name := server.CreateProvider(t, "prod-eu1", issuer)
	upload(t, server, name, rs256, es256)
	now := time.Now()
	at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(now.Add(d)) }
	for what, test := range map[string]struct {
		by     signer
		change func(*jwt.Claims)
		want   string
	}{
		"RS256":                  {rs256, func(*jwt.Claims) {}, ""},
		"ES256":                  {es256, func(*jwt.Claims) {}, ""},
		"audience without https": {es256, func(c *jwt.Claims) { c.Audience = jwt.Audience{"x", "//iam.googleapis.com/" + name} }, ""},
		"24 hours":               {es256, func(c *jwt.Claims) { c.IssuedAt, c.Expiry = at(-time.Hour), at(23*time.Hour) }, ""},
		"ES384":                  {es384, func(*jwt.Claims) {}, "RS256 or ES256"},
		"another's key":          {signer{"e", "ES256", must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}, func(*jwt.Claims) {}, "none of the uploaded"},
		"unknown key ID":         {signer{"x", "ES256", es256.private}, func(*jwt.Claims) {}, "none of the uploaded"},
		"another issuer":         {es256, func(c *jwt.Claims) { c.Issuer += "/" }, "issuer in the token"},
		"another audience":       {es256, func(c *jwt.Claims) { c.Audience = jwt.Audience{"sts.amazonaws.com"} }, "audience in the token"},
		"expired":                {es256, func(c *jwt.Claims) { c.IssuedAt, c.Expiry = at(-time.Hour), at(-time.Minute) }, "expired"},
		"from the future":        {es256, func(c *jwt.Claims) { c.IssuedAt = at(time.Minute) }, "in the future"},
		"a year":                 {es256, func(c *jwt.Claims) { c.Expiry = at(365 * 24 * time.Hour) }, "longer than 24 hours"},
		"for ever":               {es256, func(c *jwt.Claims) { c.Expiry = nil }, "no exp"},
		"a long subject":         {es256, func(c *jwt.Claims) { c.Subject = strings.Repeat("s", 128) }, "at most 127"},
	} {
		token := test.by.token(t, func(c jwt.Claims) jwt.Claims { test.change(&c); return c })
		err := server.Exchange(name, token)
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || !errors.Is(err, iam.ErrGrant)) {
			t.Errorf("%s: %v, want %q", what, err, test.want)
		}
	}
	if err := server.Exchange(name, "not a token"); !errors.Is(err, iam.ErrGrant) {
		t.Error(err)
	}
	server.SetClock(func() time.Time { return now.Add(2 * time.Hour) })
	if err := server.Exchange(name, rs256.token(t, func(c jwt.Claims) jwt.Claims { return c })); !errors.Is(err, iam.ErrGrant) {
		t.Errorf("two hours later: %v", err)
	}
}

// Whatever is wrong with the keys, Google blames the issuer.
func TestExchangeJudgesProviders(t *testing.T) {
	t.Parallel()
	server := iam.Start(t)
	name := server.CreateProvider(t, "prod-eu1", issuer)
	token := rs256.token(t, func(c jwt.Claims) jwt.Claims { return c })
	upload(t, server, name, rs256)
	good := server.Keys(name)
	for what, test := range map[string]struct {
		change func(*googleiam.WorkloadIdentityPoolProvider)
		want   error
	}{
		"good":             {func(*googleiam.WorkloadIdentityPoolProvider) {}, nil},
		"nothing uploaded": {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = "" }, iam.ErrIssuer},
		"not JSON":         {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = good[1:] }, iam.ErrIssuer},
		"a member too many": {func(p *googleiam.WorkloadIdentityPoolProvider) {
			p.Oidc.JwksJson = strings.Replace(good, `"use"`, `"x5t":"","use"`, 1)
		}, iam.ErrIssuer},
		"no use": {func(p *googleiam.WorkloadIdentityPoolProvider) {
			p.Oidc.JwksJson = strings.Replace(good, `"use":"sig",`, "", 1)
		}, iam.ErrIssuer},
		"no alg": {func(p *googleiam.WorkloadIdentityPoolProvider) {
			p.Oidc.JwksJson = strings.Replace(good, `,"alg":"RS256"`, "", 1)
		}, iam.ErrIssuer},
		"empty":         {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.JwksJson = `{"keys":[]}` }, iam.ErrGrant},
		"disabled":      {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Disabled = true }, iam.ErrTarget},
		"deleted":       {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Disabled, p.State = false, "DELETED" }, iam.ErrTarget},
		"not OIDC":      {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc = nil }, iam.ErrGrant},
		"own audiences": {func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.AllowedAudiences = []string{"mine"} }, iam.ErrGrant},
	} {
		server.Edit(t, name, func(p *googleiam.WorkloadIdentityPoolProvider) {
			p.State, p.Disabled, p.Oidc = "ACTIVE", false, &googleiam.Oidc{IssuerUri: issuer, JwksJson: good}
			test.change(p)
			if p.Oidc != nil && p.Oidc.JwksJson == good && (test.want != nil && errors.Is(test.want, iam.ErrIssuer)) {
				t.Errorf("%s: changes nothing", what)
			}
		})
		if err := server.Exchange(name, token); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", what, err, test.want)
		}
	}
	if err := server.Exchange(iam.Name("another"), token); !errors.Is(err, iam.ErrTarget) {
		t.Error(err)
	}
	server.Edit(t, name, func(p *googleiam.WorkloadIdentityPoolProvider) {
		p.State, p.Disabled, p.Oidc = "ACTIVE", false, &googleiam.Oidc{IssuerUri: issuer}
	})
	upload(t, server, name, rs256, es384)
	if err := server.Exchange(name, token); !errors.Is(err, iam.ErrIssuer) {
		t.Errorf("beside a key of another algorithm: %v", err)
	}
}
