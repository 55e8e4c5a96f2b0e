package aws_test

import (
	"encoding/json"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/printed"
	cloud "github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

// registered is what there is in the end, whoever made it. Tags are as the command line writes them.
type registered struct{ issuer, audience, providerTags, role, policy, roleTags string }

// What is printed does what the command does at a real IAM API, by a shell's and by HCL's own reading.
func TestPrint(t *testing.T) {
	s := start(t)
	s.says("--service-account production/payments --yes", "Done: create role kube.production.payments")
	want := s.registered("kube.production.payments")
	for form, read := range map[string]func(*testing.T, string) registered{"cli": readCommands, "terraform": readTerraform} {
		out, err := s.run("", "--service-account", "production/payments", "--account", cloud.AccountID, "--print", form)
		s.must(err)
		printed.Golden(t, form, strings.ReplaceAll(out, cloud.AccountID, "111122223333"))
		got := read(t, out)
		if !sameJSON(got.policy, want.policy) {
			t.Errorf("--print %s has another policy: %s", form, got.policy)
		}
		if got.policy = want.policy; got != want {
			t.Errorf("--print %s is not what setup does:\n%+v\n%+v", form, got, want)
		}
	}
}

func (s *scene) registered(role string) registered {
	s.Helper()
	provider, err := s.iam.GetOpenIDConnectProvider(s.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: sdk.String(arn)})
	s.must(err)
	tags, err := s.iam.ListRoleTags(s.Context(), &iam.ListRoleTagsInput{RoleName: &role})
	s.must(err)
	return registered{
		"https://" + strings.TrimPrefix(*provider.Url, "https://"), strings.Join(provider.ClientIDList, " "), tagged(provider.Tags), role, s.policy(role), tagged(tags.Tags),
	}
}

func tagged(tags []types.Tag) string {
	var all []string
	for _, t := range tags {
		all = append(all, "Key="+*t.Key+",Value="+*t.Value)
	}
	return strings.Join(all, " ")
}

func readCommands(t *testing.T, script string) registered {
	t.Helper()
	var r registered
	for _, c := range printed.Shell(t, script, "aws") {
		switch {
		case c.Is("iam create-open-id-connect-provider"):
			r.issuer, r.audience, r.providerTags = c.Flag("--url"), c.Flag("--client-id-list"), c.Flag("--tags")
		case c.Is("iam create-role"):
			r.role, r.policy, r.roleTags = c.Flag("--role-name"), c.Flag("--assume-role-policy-document"), c.Flag("--tags")
		default:
			t.Errorf("%q", c.Arguments)
		}
	}
	return r
}

func readTerraform(t *testing.T, source string) registered {
	t.Helper()
	var r registered
	tags := func(text string) string {
		var all map[string]string
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Error(err)
		}
		return "Key=managed-by,Value=" + all["managed-by"]
	}
	for _, b := range printed.Terraform(t, source) {
		switch b.Type {
		case "aws_iam_openid_connect_provider":
			var audiences []string
			if err := json.Unmarshal([]byte(b.Attributes["client_id_list"]), &audiences); err != nil {
				t.Error(err)
			}
			r.issuer, r.audience, r.providerTags = b.Attributes["url"], strings.Join(audiences, " "), tags(b.Attributes["tags"])
		case "aws_iam_role":
			policy := b.Attributes["assume_role_policy"] // a here-document with a reference to the provider in it
			policy = policy[strings.Index(policy, "{\n"):]
			policy = strings.TrimSuffix(strings.TrimSpace(policy), "JSON")
			r.role, r.roleTags = b.Attributes["name"], tags(b.Attributes["tags"])
			r.policy = strings.ReplaceAll(policy, "${aws_iam_openid_connect_provider.kube_prod.arn}", arn)
		default:
			t.Errorf("%+v", b)
		}
	}
	return r
}
