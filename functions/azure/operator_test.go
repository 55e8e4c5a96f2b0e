package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	tenant   = "5d2c1b3a-6f77-4a38-9a55-0c7d0a7f4e22"
	audience = "api://kube-iam-assume"
	alice    = "0f3e5a77-1111-4222-8333-944455556666"
	robot    = "0f3e5a77-1111-4222-8333-9444aaaabbbb"
)

// entra is a stand-in for the part of Microsoft Entra that an operator's token is checked with: the tenant's keys.
type entra struct {
	*testing.T
	url     string
	signing *rsa.PrivateKey
}

func newEntra(t *testing.T) *entra {
	t.Helper()
	e := &entra{T: t, signing: must(rsa.GenerateKey(rand.Reader, 2048))}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+tenant+"/discovery/v2.0/keys" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: e.signing.Public(), KeyID: "k", Use: "sig"}}})
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

// claims are those of a good token, changed.
func (e *entra) claims(changed map[string]any) map[string]any {
	claims := map[string]any{
		"iss": e.url + "/" + tenant + "/v2.0", "aud": audience, "tid": tenant, "oid": alice, "azp": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "scp": "operate",
		"iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(), "ver": "2.0",
	}
	for name, value := range changed {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	return claims
}

func sign(algorithm jose.SignatureAlgorithm, key any, claims map[string]any) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil))
	return must(jwt.Signed(signer).Claims(claims).Serialize())
}

func (e *entra) token(changed map[string]any) string {
	return sign(jose.RS256, e.signing, e.claims(changed))
}

// environment opens the door.
func (e *entra) environment() map[string]string {
	return map[string]string{
		"OPERATOR_TENANT_ID": strings.ToUpper(tenant), "OPERATOR_AUDIENCE": audience, "OPERATORS": alice + ", " + strings.ToUpper(robot), "AZURE_AUTHORITY_HOST": e.url + "/",
	}
}

// TestAdmission holds the door to every claim, one wrong each.
func TestAdmission(t *testing.T) {
	t.Parallel()
	e := newEntra(t)
	environment := e.environment()
	door := must(openDoor(func(name string) string { return environment[name] }))
	stranger := must(rsa.GenerateKey(rand.Reader, 2048))
	v1 := map[string]any{"iss": "https://sts.windows.net/" + tenant + "/", "azp": nil, "appid": "04b07795-8ddb-461a-bbee-02f9e1bf7b46", "ver": "1.0"}
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"format 2":                   {e.token(nil), nil},
		"format 1":                   {e.token(v1), nil},
		"a service principal":        {e.token(map[string]any{"oid": robot, "scp": nil, "idtyp": "app"}), nil},
		"a list of one audience":     {e.token(map[string]any{"aud": []string{audience}}), nil},
		"somebody of the tenant":     {e.token(map[string]any{"oid": "0f3e5a77-1111-4222-8333-9444ffffffff"}), errNotOperator},
		"nobody":                     {e.token(map[string]any{"oid": nil}), errNotOperator},
		"a list of operators":        {e.token(map[string]any{"oid": []string{alice}}), errToken},
		"two operators":              {e.token(map[string]any{"oid": alice + "," + robot}), errNotOperator},
		"an ID token":                {e.token(map[string]any{"azp": nil}), errToken},
		"another audience":           {e.token(map[string]any{"aud": "https://management.azure.com/"}), errToken},
		"no audience":                {e.token(map[string]any{"aud": nil}), errToken},
		"another tenant":             {e.token(map[string]any{"tid": "11111111-6f77-4a38-9a55-0c7d0a7f4e22"}), errToken},
		"no tenant":                  {e.token(map[string]any{"tid": nil}), errToken},
		"another tenant's issuer":    {e.token(map[string]any{"iss": e.url + "/11111111-6f77-4a38-9a55-0c7d0a7f4e22/v2.0"}), errToken},
		"an issuer with a slash":     {e.token(map[string]any{"iss": e.url + "/" + tenant + "/v2.0/"}), errToken},
		"no issuer":                  {e.token(map[string]any{"iss": nil}), errToken},
		"expired":                    {e.token(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}), errToken},
		"without end":                {e.token(map[string]any{"exp": nil}), errToken},
		"not yet":                    {e.token(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}), errToken},
		"a stranger's key":           {sign(jose.RS256, stranger, e.claims(nil)), errToken},
		"another algorithm":          {sign(jose.PS256, e.signing, e.claims(nil)), errToken},
		"the public key as a secret": {sign(jose.HS256, e.signing.N.Bytes(), e.claims(nil)), errToken},
		"no token":                   {"", errToken},
		"junk":                       {"a.b.c", errToken},
	} {
		operator, err := door.admit(t.Context(), []string{"Bearer " + test.token})
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) || (operator == "") != (err != nil) {
			t.Errorf("%s: %q, %v, want %v", name, operator, err, test.want)
		}
		if test.token != "" && err != nil && strings.Contains(err.Error(), test.token) {
			t.Errorf("%s: the token is in the error: %v", name, err)
		}
	}
	for name, headers := range map[string][]string{
		"no header": nil, "two headers": {"Bearer " + e.token(nil), "Bearer " + e.token(nil)}, "another scheme": {"Basic " + e.token(nil)}, "no scheme": {e.token(nil)},
	} {
		if _, err := door.admit(t.Context(), headers); !errors.Is(err, errToken) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if operator, err := door.admit(t.Context(), []string{"bearer " + e.token(nil)}); err != nil || operator != alice {
		t.Errorf("a scheme in small letters: %q, %v", operator, err)
	}
}

// TestOperate: a plan leaves no trace, an act is carried out, and everybody else is told no more than that he is not let in.
func TestOperate(t *testing.T) {
	t.Parallel()
	e := newEntra(t)
	r := newRig(t)
	r.reconciled()
	environment := e.environment()
	r.operators = must(openDoor(func(name string) string { return environment[name] }))
	next := snapshottest.NewKey()
	statement := string(must(json.Marshal(rotation.Statement{Issuer: issuer, Cluster: "prod", Action: rotation.Announce, Keys: jwks.Set{next.Key}, Reason: "rotation"})))
	good := map[string][]string{"Authorization": {"Bearer " + e.token(nil)}, "Content-Type": {"application/json"}}
	for _, test := range []struct {
		name     string
		headers  map[string][]string
		body     string
		status   int
		says     string
		accepted bool
	}{
		{"a plan", good, `{"statement": ` + statement + `, "dryRun": true}`, http.StatusOK, `"status":"planned"`, false},
		{"nobody", nil, `{"statement": ` + statement + `}`, http.StatusUnauthorized, `"code":"token"`, false},
		{"somebody else", map[string][]string{"Authorization": {"Bearer " + e.token(map[string]any{"oid": "x"})}}, `{"statement": ` + statement + `}`, http.StatusForbidden, `"code":"not-operator"`, false},
		{"no order", good, `{"stmt": 1}`, http.StatusBadRequest, `"code":"statement"`, false},
		{"no reason", good, strings.Replace(`{"statement": `+statement+`}`, "rotation", "", 1), http.StatusBadRequest, "reason", false},
		{"an unknown cluster", good, strings.Replace(`{"statement": `+statement+`}`, `"prod"`, `"test"`, 1), http.StatusForbidden, `"code":"unknown-cluster"`, false},
		{"too large", good, strings.Repeat(" ", maxOrder+1), http.StatusRequestEntityTooLarge, `"code":"too-large"`, false},
		{"the act", good, `{"statement": ` + statement + `}`, http.StatusOK, `"status":"accepted"`, true},
	} {
		before := r.publishes(next)
		answer := r.web("operate", test.headers, test.body)
		if answer.StatusCode != test.status || !strings.Contains(answer.Body, test.says) || r.publishes(next) != (before || test.accepted) {
			t.Errorf("%s: %+v; published: %t", test.name, answer, r.publishes(next))
		}
	}
	for _, event := range []string{"operator.admitted", "request.rejected", "statement.refused", "statement.accepted"} {
		if !r.saw(event) {
			t.Errorf("the log has no %s:\n%s", event, r.log)
		}
	}
	if log := r.log.String(); strings.Contains(log, "eyJ") || !strings.Contains(log, alice) {
		t.Errorf("the log has a token, or not who it was:\n%s", log)
	}
}

// TestDoorSettings: half a door is none, and is said so.
func TestDoorSettings(t *testing.T) {
	t.Parallel()
	e := newEntra(t)
	for name, test := range map[string]struct {
		change map[string]string
		want   string
	}{
		"as it should be":    {nil, ""},
		"nothing":            {map[string]string{"OPERATOR_TENANT_ID": "", "OPERATOR_AUDIENCE": "", "OPERATORS": ""}, "shut"},
		"no tenant":          {map[string]string{"OPERATOR_TENANT_ID": ""}, "OPERATOR_TENANT_ID"},
		"a tenant's name":    {map[string]string{"OPERATOR_TENANT_ID": "example.onmicrosoft.com"}, "OPERATOR_TENANT_ID"},
		"all tenants":        {map[string]string{"OPERATOR_TENANT_ID": "common"}, "OPERATOR_TENANT_ID"},
		"no audience":        {map[string]string{"OPERATOR_AUDIENCE": ""}, "OPERATOR_AUDIENCE"},
		"no operators":       {map[string]string{"OPERATORS": ""}, "OPERATORS"},
		"an operator's name": {map[string]string{"OPERATORS": "alice@example.com"}, "OPERATORS"},
		"an empty one":       {map[string]string{"OPERATORS": alice + ",,"}, "OPERATORS"},
		"a plain authority":  {map[string]string{"AZURE_AUTHORITY_HOST": "http://login.example.com"}, "AZURE_AUTHORITY_HOST"},
		"a path":             {map[string]string{"AZURE_AUTHORITY_HOST": "https://login.example.com/x"}, "AZURE_AUTHORITY_HOST"},
	} {
		environment := e.environment()
		for name, value := range test.change {
			environment[name] = value
		}
		door, err := openDoor(func(name string) string { return environment[name] })
		switch {
		case test.want == "" && (err != nil || door == nil):
			t.Errorf("%s: %v", name, err)
		case test.want == "shut" && (err != nil || door != nil):
			t.Errorf("%s: %v, %v", name, door, err)
		case test.want != "" && test.want != "shut" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
	if host, err := authorityOf(""); err != nil || host != "https://login.microsoftonline.com" {
		t.Errorf("the authority is %s, %v", host, err)
	}
}
