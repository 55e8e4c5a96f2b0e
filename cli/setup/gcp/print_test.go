package gcp_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/api/iam/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/printed"
)

// outcome is what there is in the end, whoever made it.
type outcome struct {
	Pool      [4]string // project, ID, names
	Providers map[string]provided
	Members   map[string][]string
}

type provided struct {
	Display, Description, Issuer, Condition string
	Mapping                                 map[string]string
}

// What is printed does what the command does, by a shell's and by HCL's own reading.
func TestPrint(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string]string{
		"impersonating": payments + " --service-account production/mail.x --issuer us=https://oidc.example.com/prod-us1",
		"namespace":     "--allow-namespace production --admit-unbound --impersonate " + robot,
		"grants":        "--service-account production/payments",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			g.policies[robot] = &iam.Policy{Etag: "A"}
			g.says(arguments + " --yes")
			want := made(g)
			untouched := start(t)
			for form, read := range map[string]func(*testing.T, string) outcome{"cli": readCommands, "terraform": readTerraform} {
				out, err := untouched.run(arguments + " --print " + form)
				if err != nil {
					t.Fatal(err)
				}
				printed.Golden(t, name+"."+form, out)
				if diff := cmp.Diff(want, read(t, out)); diff != "" {
					t.Errorf("--print %s is not what setup does: %s", form, diff)
				}
			}
			if len(untouched.writes) != 0 {
				t.Errorf("--print wrote %v", untouched.writes)
			}
		})
	}
}

func made(g *google) outcome {
	is := outcome{Providers: map[string]provided{}, Members: map[string][]string{}}
	for _, p := range g.pools {
		parts := strings.Split(p.Name, "/")
		is.Pool = [4]string{parts[1], parts[5], p.DisplayName, p.Description}
	}
	for _, p := range g.providers {
		is.Providers[p.Name[strings.LastIndex(p.Name, "/")+1:]] = provided{p.DisplayName, p.Description, p.Oidc.IssuerUri, p.AttributeCondition, p.AttributeMapping}
	}
	for _, b := range g.policies[robot].Bindings {
		is.Members[b.Role] = append(is.Members[b.Role], b.Members...)
	}
	return is
}

func readCommands(t *testing.T, script string) outcome {
	t.Helper()
	is := outcome{Providers: map[string]provided{}, Members: map[string][]string{}}
	for _, c := range printed.Shell(t, script, "gcloud") {
		switch {
		case c.Is("iam workload-identity-pools create"):
			is.Pool = [4]string{c.Flag("--project"), c.Arguments[3], c.Flag("--display-name"), c.Flag("--description")}
		case c.Is("iam workload-identity-pools providers create-oidc"):
			if c.Flag("--workload-identity-pool") != is.Pool[1] || c.Flag("--project") != is.Pool[0] {
				t.Errorf("another pool: %q", c.Arguments)
			}
			mapping := map[string]string{} // gcloud topic escaping: ^|^ makes | what parts the members
			for member := range strings.SplitSeq(strings.TrimPrefix(c.Flag("--attribute-mapping"), "^|^"), "|") {
				name, value, _ := strings.Cut(member, "=")
				mapping[name] = value
			}
			is.Providers[c.Arguments[4]] = provided{c.Flag("--display-name"), c.Flag("--description"), c.Flag("--issuer-uri"), c.Flag("--attribute-condition"), mapping}
		case c.Is("iam service-accounts add-iam-policy-binding " + robot):
			is.Members[c.Flag("--role")] = append(is.Members[c.Flag("--role")], c.Flag("--member"))
		default:
			t.Errorf("%q", c.Arguments)
		}
	}
	return is
}

func readTerraform(t *testing.T, source string) outcome {
	t.Helper()
	is := outcome{Providers: map[string]provided{}, Members: map[string][]string{}}
	for _, b := range printed.Terraform(t, source) {
		has := b.Attributes
		switch b.Type {
		case "google_iam_workload_identity_pool":
			is.Pool = [4]string{has["project"], has["workload_identity_pool_id"], has["display_name"], has["description"]}
		case "google_iam_workload_identity_pool_provider":
			if has["workload_identity_pool_id"] != "google_iam_workload_identity_pool.kube_kubernetes.workload_identity_pool_id" || has["project"] != is.Pool[0] {
				t.Errorf("another pool: %v", has)
			}
			var mapping map[string]string
			if err := json.Unmarshal([]byte(has["attribute_mapping"]), &mapping); err != nil {
				t.Error(err)
			}
			is.Providers[has["workload_identity_pool_provider_id"]] = provided{has["display_name"], has["description"], has["oidc.issuer_uri"], has["attribute_condition"], mapping}
		case "google_service_account_iam_member":
			if has["service_account_id"] != "projects/-/serviceAccounts/"+robot {
				t.Errorf("another service account: %v", has)
			}
			is.Members[has["role"]] = append(is.Members[has["role"]], has["member"])
		default:
			t.Errorf("%+v", b)
		}
	}
	return is
}
