//go:build e2e_vault

package vault

import (
	"bytes"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	setup "github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/vault"
)

const (
	audience  = "vault"
	account   = "--service-account production/payments"
	mount     = "kubernetes-prod"
	role      = "production.payments"
	unchanged = "It is so already: nothing to change."
)

// world is a publisher with a public URL, an API server whose issuer that is, and Vault.
type world struct {
	*testing.T
	issuer    string
	bundle    string
	publisher *publish.Publisher
	cluster   *kube.Cluster
	vault     *vault.Server
}

func start(t *testing.T, key *kube.Key) *world {
	t.Helper()
	w := &world{T: t, vault: vault.Start(t), bundle: filepath.Join(t.TempDir(), "ca.pem")}
	documents, err := dir.Open(filepath.Join(t.TempDir(), "documents"))
	w.must(err)
	private, err := dir.Open(filepath.Join(t.TempDir(), "private"))
	w.must(err)
	web := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		object, _, err := documents.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", object.ContentType)
		_, _ = rw.Write(object.Body)
	}))
	t.Cleanup(web.Close)
	w.issuer = web.URL + "/prod"
	w.must(os.WriteFile(w.bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600))
	w.publisher, err = publish.New(publish.Config{
		Settings: enrollment.Publisher{Name: "test", Issuers: []enrollment.Issuer{{
			URL: w.issuer, Path: "prod", Retention: 48 * time.Hour, Internal: true,
			Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: "kube-iam-assume/cluster-exporter", BootstrapKeys: w.set(key)}},
		}}},
		Documents: documents, Private: private, Logger: slog.New(slog.DiscardHandler),
	})
	w.must(err)
	w.must(w.publisher.Reconcile(t.Context()))
	w.cluster = kube.Start(t, kube.Options{Issuer: w.issuer, Keys: kube.Keys{Sign: key}})
	for _, name := range []string{"payments", "reports"} {
		w.cluster.CreateServiceAccount(t, "production", name)
	}
	t.Setenv("VAULT_ADDR", w.vault.Address)
	t.Setenv("VAULT_TOKEN", w.limitedToken())
	return w
}

// limitedToken has the rights that docs/vault.md asks for, for each mount that the test makes, and no other.
func (w *world) limitedToken() string {
	w.Helper()
	rights := `path "sys/auth" { capabilities = ["read"] }`
	for _, mount := range []string{mount, "jwt", "other"} {
		rights += strings.ReplaceAll(`
path "sys/auth/MOUNT" { capabilities = ["create", "update", "delete", "sudo"] }
path "auth/MOUNT/config" { capabilities = ["read", "create", "update"] }
path "auth/MOUNT/role/*" { capabilities = ["read", "create", "update", "delete"] }
path "auth/MOUNT/role" { capabilities = ["list", "read"] }`, "MOUNT", mount)
	}
	_, err := w.vault.Call(w.Context(), http.MethodPut, "sys/policies/acl/setup", w.vault.Token, map[string]string{"policy": rights})
	w.must(err)
	answer, err := w.vault.Call(w.Context(), http.MethodPost, "auth/token/create", w.vault.Token, map[string]any{"policies": []string{"setup"}, "no_default_policy": true})
	w.must(err)
	auth, _ := answer["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)
	return token
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) set(key *kube.Key) jwks.Set {
	w.Helper()
	k, err := jwks.New(key.Public())
	w.must(err)
	return jwks.Set{k}
}

func (w *world) operate(s rotation.Statement) {
	w.Helper()
	s.Issuer, s.Cluster, s.Reason = w.issuer, "prod", "test"
	_, err := w.publisher.Operate(w.Context(), s)
	w.must(err)
}

// setup is the command, which never says the token.
func (w *world) setup(arguments string) (string, error) {
	w.Helper()
	c := setup.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"--issuer", w.issuer, "--ca-bundle", w.bundle}, strings.Fields(arguments)...))
	err := c.ExecuteContext(w.Context())
	if token := os.Getenv("VAULT_TOKEN"); strings.Contains(out.String(), token) || err != nil && strings.Contains(err.Error(), token) {
		w.Fatalf("%s: the token is printed", arguments)
	}
	return out.String(), err
}

func (w *world) says(arguments string, want ...string) {
	w.Helper()
	out, err := w.setup(arguments)
	if err != nil {
		w.Fatalf("setup vault %s: %v\n%s", arguments, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			w.Fatalf("setup vault %s says nothing of %q:\n%s", arguments, text, out)
		}
	}
}

// login is what a pod does.
func (w *world) login(at, token string) (map[string]any, error) {
	w.Helper()
	answer, err := w.vault.Call(w.Context(), http.MethodPost, "auth/"+at+"/login", "", map[string]string{"role": role, "jwt": token})
	if err != nil {
		return nil, err
	}
	auth, _ := answer["auth"].(map[string]any)
	return auth, nil
}

func (w *world) token(name, audience string) string {
	w.Helper()
	return w.cluster.Token(w.T, 0, "production", name, []string{audience}, 3600)
}

func TestSetUpRotateRevoke(t *testing.T) {
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	w := start(t, a)
	w.examined(setup.Registration{}, w.set(a), registration.Broken, "vault.mount", "no configured JWT auth method")
	w.setUp()
	w.examined(setup.Registration{}, w.set(a), registration.Well, "", "")
	w.examined(setup.Registration{Role: "elsewhere"}, w.set(a), registration.Broken, "vault.role", "no role elsewhere")
	w.examined(setup.Registration{Audience: "other"}, w.set(a), registration.Broken, "vault.audience", "without other")
	w.examined(setup.Registration{Mount: "denied"}, w.set(a), registration.Unknown, "vault.mount", "read on auth/denied/config")
	old := w.token("payments", audience)
	w.logins(old)

	// A rotation: the new key is announced, and signs.
	w.operate(rotation.Statement{Action: rotation.Announce, Keys: w.set(b)})
	w.cluster.Servers[0].Restart(t, kube.Config{Issuers: []string{w.issuer}, Keys: kube.Keys{Sign: b, Verify: []*kube.Key{a, b}}})
	fresh := w.token("payments", audience)
	for name, token := range map[string]string{"the new key": fresh, "the old key": old} {
		if _, err := w.login(mount, token); err != nil {
			t.Errorf("after the rotation, %s: %v", name, err)
		}
	}

	// A revocation: the key has left the issuer, and Vault does not know.
	w.operate(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{a.ID()}})
	if _, err := w.login(mount, old); err != nil {
		t.Errorf("Vault forgets by itself, which nobody has seen yet: say so in docs/vault.md: %v", err)
	}
	w.says("--flush --yes", "the same again, which makes Vault forget the keys that it has read")
	if _, err := w.login(mount, old); err == nil {
		t.Error("Vault takes a revoked key after the flush")
	}
	if _, err := w.login(mount, fresh); err != nil {
		t.Errorf("after the flush, the new key: %v", err)
	}
	w.drift(fresh)
	w.adopt()
	w.remove(fresh)
}

// setUp shows, makes, and then finds nothing to do.
func (w *world) setUp() {
	w.Helper()
	w.says(account+" --policy payments --dry-run", "create", "auth method "+mount, "role "+role+" of auth method "+mount, "lets in system:serviceaccount:production:payments")
	if _, err := w.vault.Call(w.Context(), http.MethodGet, "auth/"+mount+"/config", w.vault.Token, nil); err == nil {
		w.Error("--dry-run made something")
	}
	w.says(account+" --policy payments --yes", "Done: create auth method "+mount)
	w.says(account+" --policy payments --ttl 60m --yes", unchanged)
	w.says(account+" --yes", unchanged)
}

func (w *world) logins(good string) {
	w.Helper()
	auth, err := w.login(mount, good)
	w.must(err)
	metadata, _ := auth["metadata"].(map[string]any)
	if metadata["namespace"] != "production" || metadata["service_account"] != "payments" || metadata["service_account_uid"] == nil {
		w.Errorf("what Vault logs of a login: %v", metadata)
	}
	for name, token := range map[string]string{
		"another account": w.token("reports", audience), "another audience": w.token("payments", "sts.amazonaws.com"),
	} {
		if _, err := w.login(mount, token); err == nil {
			w.Errorf("%s is let in", name)
		}
	}
}

// examined is what doctor's reader says of the mount, with the rights that setup has.
func (w *world) examined(r setup.Registration, keys jwks.Set, want registration.Status, check, says string) {
	w.Helper()
	found := r.Examine(w.Context(), registration.Wanted{Issuer: w.issuer, Cluster: "prod", Subject: "system:serviceaccount:production:payments", Keys: keys})
	if want == registration.Well {
		for _, f := range found {
			if f.Status != registration.Well {
				w.Errorf("doctor says %+v", f)
			}
		}
		if len(found) != len(setup.Checks()) {
			w.Errorf("doctor says only %+v", found)
		}
		return
	}
	for _, f := range found {
		if f.Check == check && f.Status == want && strings.Contains(f.Detail, says) {
			return
		}
	}
	w.Errorf("doctor is to say %s %d %q, and says %+v", check, want, says, found)
}

// drift is repaired and told; rights that somebody gave the role stay.
func (w *world) drift(good string) {
	w.Helper()
	for path, body := range map[string]map[string]any{
		"role/" + role: {"role_type": "jwt", "user_claim": "sub", "bound_audiences": []string{audience, "other"}, "bound_subject": "", "bound_claims": map[string]any{"sub": "*"}, "bound_claims_type": "glob", "token_policies": []string{"payments", "more"}},
		"config":       {"oidc_discovery_url": w.issuer, "oidc_discovery_ca_pem": w.read(w.bundle), "bound_issuer": "", "default_role": role},
	} {
		_, err := w.vault.Call(w.Context(), http.MethodPost, "auth/"+mount+"/"+path, w.vault.Token, body)
		w.must(err)
	}
	w.examined(setup.Registration{}, nil, registration.Broken, "vault.issuer", "no issuer is bound")
	w.examined(setup.Registration{}, nil, registration.Broken, "vault.subject", "every service account")
	w.says(account+" --yes", `bound_issuer "`+w.issuer+`"`, `bound_claims_type "string", instead of "glob"`, `bound_audiences ["vault"], instead of ["vault","other"]`)
	_, err := w.login(mount, good)
	w.must(err)
	if _, err := w.login(mount, w.token("reports", audience)); err == nil {
		w.Error("another account is let in after the repair")
	}
	answer, err := w.vault.Call(w.Context(), http.MethodGet, "auth/"+mount+"/role/"+role, w.vault.Token, nil)
	w.must(err)
	data, _ := answer["data"].(map[string]any)
	if policies, _ := data["token_policies"].([]any); len(policies) != 2 {
		w.Errorf("the role's rights became %v", policies)
	}
	answer, err = w.vault.Call(w.Context(), http.MethodGet, "auth/"+mount+"/config", w.vault.Token, nil)
	w.must(err)
	if data, _ := answer["data"].(map[string]any); data["default_role"] != role {
		w.Errorf("the default role became %v", data["default_role"])
	}
	w.says(account+" --yes", unchanged)
}

func (w *world) read(file string) string {
	w.Helper()
	data, err := os.ReadFile(file)
	w.must(err)
	return string(data)
}

// Keys by their own URL work the same; what is somebody else's is refused.
func (w *world) adopt() {
	w.Helper()
	w.says(account+" --mount jwt --jwks-url --yes", "Done: create auth method jwt")
	if _, err := w.login("jwt", w.token("payments", audience)); err != nil {
		w.Errorf("by jwks_url: %v", err)
	}
	w.says(account+" --mount jwt --jwks-url --yes", unchanged)
	w.examined(setup.Registration{Mount: "jwt"}, nil, registration.Well, "", "")
	for _, step := range []struct {
		path string
		body map[string]any
	}{
		{"sys/auth/people", map[string]any{"type": "approle"}},
		{"sys/auth/other", map[string]any{"type": "jwt"}},
		{"auth/other/config", map[string]any{"jwks_url": w.issuer + "/openid/v1/jwks", "jwks_ca_pem": w.read(w.bundle), "bound_issuer": "https://other.example.com"}},
	} {
		_, err := w.vault.Call(w.Context(), http.MethodPost, step.path, w.vault.Token, step.body)
		w.must(err)
	}
	w.refusesMounts()
}

func (w *world) refusesMounts() {
	w.Helper()
	for _, taken := range []string{"people", "other", "people/below"} {
		if _, err := w.setup(account + " --yes --mount " + taken); !errors.Is(err, setup.ErrMount) {
			w.Errorf("mount %s: %v", taken, err)
		}
	}
	own := os.Getenv("VAULT_TOKEN")
	w.Setenv("VAULT_TOKEN", "guessed")
	if _, err := w.setup(account + " --yes"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		w.Errorf("a guessed token: %v", err)
	}
	w.Setenv("VAULT_TOKEN", own)
}

// Removal: the roles, then the mount, and nothing the second time.
func (w *world) remove(good string) {
	w.Helper()
	w.says("--service-account production/reports --yes", "Done: create role production.reports")
	w.says(account+" --remove --yes", "Done: delete role "+role, "stays for its roles production.reports")
	if _, err := w.login(mount, good); err == nil {
		w.Error("let in after removal")
	}
	w.says("--service-account production/reports --remove --yes", "Done: delete role production.reports", "Done: delete auth method "+mount)
	w.says(account+" --remove --yes", unchanged)
}
