package vault_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	issuer  = "https://oidc.example.com/prod"
	token   = "hvs.a-login"
	subject = "system:serviceaccount:production:payments"
)

type object = map[string]any

// standIn answers reads of a JWT auth method in the shapes that the real server has (test/e2e/vault reads the same from one).
type standIn struct {
	config, role object
	denied       string
}

func healthy() *standIn {
	return &standIn{
		config: object{
			"bound_issuer": issuer, "oidc_discovery_url": issuer, "jwks_url": "", "jwt_validation_pubkeys": []string{}, "oidc_client_id": "",
			"jwt_supported_algs": []string{"RS256", "ES256", "ES384", "ES512"},
		},
		role: object{
			"role_type": "jwt", "bound_audiences": []string{"vault"}, "bound_subject": subject, "bound_claims_type": "string", "user_claim": "sub",
			"bound_claims": object{"/kubernetes.io/namespace": "production", "/kubernetes.io/serviceaccount/name": "payments"},
		},
	}
}

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	data := map[string]object{"/v1/auth/kubernetes-prod/config": s.config, "/v1/auth/kubernetes-prod/role/production.payments": s.role}[r.URL.Path]
	switch {
	case r.Method != http.MethodGet || r.Header.Get("X-Vault-Token") != token || s.denied != "" && strings.HasSuffix(r.URL.Path, s.denied):
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`))
	case data == nil:
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[]}`))
	default:
		_ = json.NewEncoder(w).Encode(object{"data": data})
	}
}

var key = snapshottest.NewKey().Key

var asked = registration.Wanted{Issuer: issuer, Cluster: "prod", Subject: subject, Keys: jwks.Set{key}}

func pemOf(key jwks.Key) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// with changes some fields.
func with(o *object, changes object) {
	*o = maps.Clone(*o)
	maps.Copy(*o, changes)
}

var harms = map[string]struct {
	harm   func(*standIn)
	check  string
	status registration.Status
	says   string
}{
	"no auth method":          {func(s *standIn) { s.config = nil }, "vault.mount", registration.Broken, "no configured JWT auth method at kubernetes-prod"},
	"reading is denied":       {func(s *standIn) { s.denied = "/config" }, "vault.mount", registration.Unknown, "read on auth/kubernetes-prod/config"},
	"no issuer is bound":      {func(s *standIn) { with(&s.config, object{"bound_issuer": ""}) }, "vault.issuer", registration.Broken, "tokens of any issuer"},
	"another issuer is bound": {func(s *standIn) { with(&s.config, object{"bound_issuer": issuer + "-old"}) }, "vault.issuer", registration.Broken, "not " + issuer},
	"a slash":                 {func(s *standIn) { with(&s.config, object{"bound_issuer": issuer + "/"}) }, "vault.issuer", registration.Broken, "slash at the end"},
	"keys of another issuer":  {func(s *standIn) { with(&s.config, object{"oidc_discovery_url": issuer + "-old"}) }, "vault.keys", registration.Broken, "prod-old"},
	"no source of keys":       {func(s *standIn) { with(&s.config, object{"oidc_discovery_url": ""}) }, "vault.keys", registration.Broken, "neither"},
	"another algorithm":       {func(s *standIn) { with(&s.config, object{"jwt_supported_algs": []string{"RS256"}}) }, "vault.keys", registration.Broken, "is for ES"},
	"a mirror's keys": {func(s *standIn) {
		with(&s.config, object{"oidc_discovery_url": "", "jwks_url": "https://mirror.example.com/prod/openid/v1/jwks"})
	}, "vault.keys", registration.Doubtful, "mirror.example.com"},
	"stale keys are written into it": {func(s *standIn) {
		with(&s.config, object{"oidc_discovery_url": "", "jwt_validation_pubkeys": []string{pemOf(snapshottest.NewKey().Key), "no PEM"}})
	}, "vault.keys", registration.Broken, "lacks the published key " + key.ID()},
	"the keys are written into it": {func(s *standIn) {
		with(&s.config, object{"oidc_discovery_url": "", "jwt_validation_pubkeys": []string{pemOf(key)}})
	}, "vault.keys", registration.Doubtful, "the next rotation"},
	"no role":                 {func(s *standIn) { s.role = nil }, "vault.role", registration.Broken, "no role production.payments"},
	"reading roles is denied": {func(s *standIn) { s.denied = "payments" }, "vault.role", registration.Unknown, "role/production.payments"},
	"a role for people":       {func(s *standIn) { with(&s.role, object{"role_type": "oidc"}) }, "vault.role", registration.Broken, `"oidc"`},
	"another audience":        {func(s *standIn) { with(&s.role, object{"bound_audiences": []string{"sts.amazonaws.com"}}) }, "vault.audience", registration.Broken, "without vault"},
	"no audience":             {func(s *standIn) { with(&s.role, object{"bound_audiences": nil}) }, "vault.audience", registration.Broken, "without vault"},
	"another subject":         {func(s *standIn) { with(&s.role, object{"bound_subject": "system:serviceaccount:a:b"}) }, "vault.subject", registration.Broken, "bound_subject is system:serviceaccount:a:b"},
	"another namespace": {
		func(s *standIn) {
			with(&s.role, object{"bound_claims": object{"/kubernetes.io/namespace": []string{"test", "stage"}}})
		},
		"vault.subject", registration.Broken, "is test, stage, the token has production",
	},
	"no slash before a claim": {
		func(s *standIn) {
			with(&s.role, object{"bound_claims": object{"kubernetes.io/namespace": "production"}})
		},
		"vault.subject", registration.Broken, "is a JSON pointer",
	},
	"a pattern that is none": {
		func(s *standIn) {
			with(&s.role, object{"bound_subject": "", "bound_claims": object{"sub": "system:serviceaccount:production:*"}})
		},
		"vault.subject", registration.Broken, "bound claim sub is system:serviceaccount:production:*",
	},
	"nobody is bound": {func(s *standIn) { with(&s.role, object{"bound_subject": "", "bound_claims": nil}) }, "vault.subject", registration.Broken, "every service account of the cluster"},
	"everybody is bound": {func(s *standIn) {
		with(&s.role, object{"bound_subject": "", "bound_claims_type": "glob", "bound_claims": object{"sub": "*"}})
	}, "vault.subject", registration.Broken, "every service account of the cluster"},
	"a claim that doctor does not know": {
		func(s *standIn) { with(&s.role, object{"bound_claims": object{"/kubernetes.io/pod/name": "a"}}) },
		"vault.subject", registration.Doubtful, "/kubernetes.io/pod/name",
	},
}

func TestExamine(t *testing.T) {
	provoked := map[string]bool{}
	for name, harm := range harms {
		s := healthy()
		harm.harm(s)
		found := s.examine(t, asked)
		provoked[harm.check] = true
		if !slices.ContainsFunc(found, func(f registration.Finding) bool {
			return f.Check == harm.check && f.Status == harm.status && strings.Contains(f.Detail, harm.says) && f.Remedy != ""
		}) {
			t.Errorf("%s: wanted is %s with the status %d, which says %q; found is:\n%+v", name, harm.check, harm.status, harm.says, found)
		}
		for _, f := range found {
			if strings.Contains(f.Detail+f.Remedy, token) {
				t.Errorf("%s: the token is told", name)
			}
		}
	}
	for _, check := range vault.Checks() {
		if !provoked[check] {
			t.Errorf("nothing provokes %s", check)
		}
	}
}

func (s *standIn) examine(t *testing.T, w registration.Wanted) []registration.Finding {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", token)
	return vault.Registration{}.Examine(t.Context(), w)
}

func TestExamineFindsNothing(t *testing.T) {
	for name, change := range map[string]func(*standIn){
		"as setup makes it": func(*standIn) {},
		"keys by their URL": func(s *standIn) {
			with(&s.config, object{"oidc_discovery_url": "", "jwks_url": issuer + "/openid/v1/jwks"})
		},
		"a whole namespace": func(s *standIn) {
			with(&s.role, object{"bound_subject": "", "bound_claims": object{"/kubernetes.io/namespace": "production"}})
		},
		"a pattern": func(s *standIn) {
			with(&s.role, object{"bound_subject": "", "bound_claims_type": "glob", "bound_claims": object{"sub": []string{"x", "system:*:production:*ments"}}})
		},
	} {
		s := healthy()
		change(s)
		found := s.examine(t, asked)
		for _, f := range found {
			if f.Status != registration.Well {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if len(found) != len(vault.Checks()) {
			t.Errorf("%s: %+v", name, found)
		}
	}
	if found := healthy().examine(t, registration.Wanted{Issuer: issuer, Cluster: "prod"}); len(found) != 3 {
		t.Errorf("without a workload: %+v", found)
	}
	t.Setenv("VAULT_ADDR", "")
	if found := (vault.Registration{}).Examine(t.Context(), asked); len(found) != 1 || found[0].Status != registration.Unknown {
		t.Errorf("without an address: %+v", found)
	}
}
