package vault_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/printed"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vault"
)

// printCases are with the discovery document and with the URL of the keys, with an authority of one's own, for accounts and for a namespace.
var printCases = map[string]string{
	"discovery": "--service-account production/payments --service-account production/mail.x --policy payments --policy pki/issue",
	"keys":      "--allow-namespace production --jwks-url --mount teams/jwt --audience https://vault.example.com:8200 --ttl 90",
	"authority": "--service-account production/payments --ca-bundle AUTHORITY",
}

func execute(t *testing.T, arguments string) (string, error) {
	t.Helper()
	c := vault.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"--issuer", issuer}, strings.Fields(arguments)...))
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

// What is printed does what the command does, by a shell's and by HCL's own reading.
func TestPrint(t *testing.T) {
	written := map[string]object{}
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			var body object
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
				t.Error(err)
			}
			written[strings.TrimPrefix(r.URL.Path, "/v1/")] = body
		}
		_, _ = w.Write([]byte(`{"data":{}}`))
	}))
	defer empty.Close()
	t.Setenv("VAULT_ADDR", empty.URL)
	t.Setenv("VAULT_TOKEN", token)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, []byte(pemOf(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, arguments := range printCases {
		arguments = strings.ReplaceAll(arguments, "AUTHORITY", authority)
		clear(written)
		if out, err := execute(t, arguments+" --yes"); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		want := inSeconds(maps.Clone(written))
		for form, read := range map[string]func(*testing.T, string) map[string]object{"cli": readCommands, "terraform": readTerraform} {
			out, err := execute(t, arguments+" --print "+form)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, inSeconds(read(t, out))); diff != "" {
				t.Errorf("%s: --print %s is not what setup does: %s", name, form, diff)
			}
			if len(want) < 3 {
				t.Errorf("%s: setup wrote only %v", name, want)
			}
		}
	}
}

// inSeconds makes one of the two forms in which Vault takes a time.
func inSeconds(all map[string]object) map[string]object {
	for _, body := range all {
		if seconds, known := map[any]any{"1h": 3600.0, "90": 90.0}[body["token_ttl"]]; known {
			body["token_ttl"] = seconds
		}
	}
	return all
}

func readCommands(t *testing.T, script string) map[string]object {
	t.Helper()
	all := map[string]object{}
	for _, c := range printed.Shell(t, script, "vault") {
		switch {
		case c.Is("auth enable"):
			all["sys/auth/"+c.Flag("-path")] = object{"type": c.Arguments[len(c.Arguments)-1], "description": c.Flag("-description")}
		case c.Is("write"):
			var body object
			if err := json.Unmarshal([]byte(c.Input), &body); err != nil {
				t.Errorf("%q: %v", c.Arguments, err)
			}
			all[c.Arguments[1]] = body
		default:
			t.Errorf("%q", c.Arguments)
		}
	}
	return all
}

func readTerraform(t *testing.T, source string) map[string]object {
	t.Helper()
	all := map[string]object{}
	paths := map[string]string{}
	for _, b := range printed.Terraform(t, source) {
		body := object{}
		for name, text := range b.Attributes {
			var value any
			if err := json.Unmarshal([]byte(text), &value); err != nil {
				value = text
			}
			body[name] = value
		}
		take := func(name string) string {
			text, _ := body[name].(string)
			delete(body, name)
			return text
		}
		switch b.Type {
		case "vault_jwt_auth_backend":
			path := take("path")
			paths[b.Address()+".path"] = path
			all["sys/auth/"+path] = object{"type": "jwt", "description": take("description")}
			all["auth/"+path+"/config"] = body
		case "vault_jwt_auth_backend_role":
			all["auth/"+paths[take("backend")]+"/role/"+take("role_name")] = body
		default:
			t.Errorf("%+v", b)
		}
	}
	return all
}
