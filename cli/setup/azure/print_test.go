package azure_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/printed"
)

var printCases = map[string]string{
	"identity":     onTheOne + payments + " --service-account production/mail",
	"new-identity": onTheOne + payments + " --service-account production/mail --location westeurope",
	"application":  onTheApp + payments + " --service-account production/mail",
}

// What is printed does what the command does: the same identity and the same credentials, by a shell's and by HCL's own reading.
func TestPrint(t *testing.T) {
	t.Parallel()
	for name, arguments := range printCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := start(t)
			m.there = name == "identity"
			m.says(arguments + " --yes")
			untouched := start(t)
			for _, form := range []string{"cli", "terraform"} {
				out, err := run(t, untouched.Server, arguments+" --print "+form)
				if err != nil {
					t.Fatal(err)
				}
				printed.Golden(t, name+"."+form, out)
				read := readCommands
				if form == "terraform" {
					read = readTerraform
				}
				got, made := read(t, out)
				if diff := cmp.Diff(m.credentials, got); diff != "" {
					t.Errorf("setup makes, and --print %s does not: %s", form, diff)
				}
				if made != (name == "new-identity") {
					t.Errorf("--print %s makes an identity: %v", form, made)
				}
			}
			if len(untouched.writes) != 0 {
				t.Errorf("--print wrote %v", untouched.writes)
			}
		})
	}
}

func readCommands(t *testing.T, script string) (map[string]properties, bool) {
	t.Helper()
	all, made := map[string]properties{}, false
	for _, c := range printed.Shell(t, script, "az") {
		switch {
		case c.Is("identity create"):
			made = c.Flag("--location") == "westeurope" && c.Flag("--tags") == "managed-by=kube-iam-assume" && c.Flag("--name") == "payments"
		case c.Is("identity federated-credential create"):
			if c.Flag("--identity-name") != "payments" || c.Flag("--resource-group") != "prod" || !strings.Contains(identity, c.Flag("--subscription")) {
				t.Errorf("%q", c.Arguments)
			}
			all[c.Flag("--name")] = properties{c.Flag("--issuer"), c.Flag("--subject"), []string{c.Flag("--audiences")}}
		case c.Is("ad app federated-credential create --id " + application):
			var body struct {
				properties
				Name string `json:"name"`
			}
			if err := json.Unmarshal([]byte(c.Flag("--parameters")), &body); err != nil {
				t.Error(err)
			}
			all[body.Name] = body.properties
		default:
			t.Errorf("%q", c.Arguments)
		}
	}
	return all, made
}

func readTerraform(t *testing.T, source string) (map[string]properties, bool) {
	t.Helper()
	all, made := map[string]properties{}, false
	for _, b := range printed.Terraform(t, source) {
		is := maps.Clone(b.Attributes)
		switch b.Type {
		case "azurerm_user_assigned_identity":
			made = is["location"] == "westeurope" && is["tags"] == `{"managed-by":"kube-iam-assume"}` && is["name"] == "payments" && is["resource_group_name"] == "prod"
		case "azuread_application":
			if is["client_id"] != application || b.Kind != "data" {
				t.Errorf("%+v", b)
			}
		case "azurerm_federated_identity_credential":
			if owner := is["user_assigned_identity_id"]; owner != identity && owner != "azurerm_user_assigned_identity.kube_payments.id" {
				t.Errorf("%+v", b)
			}
			all[is["name"]] = properties{is["issuer"], is["subject"], list(t, is["audience"])}
		case "azuread_application_federated_identity_credential":
			if is["application_id"] != "data.azuread_application.kube.id" {
				t.Errorf("%+v", b)
			}
			all[is["display_name"]] = properties{is["issuer"], is["subject"], list(t, is["audiences"])}
		default:
			t.Errorf("%+v", b)
		}
	}
	return all, made
}

func list(t *testing.T, text string) []string {
	t.Helper()
	var all []string
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Errorf("%q: %v", text, err)
	}
	return all
}
