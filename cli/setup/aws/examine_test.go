package aws_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/registration/iampolicy"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	cloud "github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

const payments = "system:serviceaccount:production:payments"

var asked = registration.Wanted{Issuer: issuer, Cluster: "prod", Subject: payments}

// One account that is healthy at first, and whose parts are broken and repaired in turn. The steps build on each other: an account takes seconds to start.
func TestExamine(t *testing.T) {
	s := start(t)
	provoked := map[string]bool{}
	step := func(name string, r aws.Registration, w registration.Wanted, status registration.Status, check, says string) {
		t.Helper()
		found := r.Examine(t.Context(), w)
		for _, f := range found {
			if f.Check == check && f.Status == status && strings.Contains(f.Detail, says) && (f.Remedy != "" || status == registration.Well) {
				provoked[check] = provoked[check] || status == registration.Broken
				return
			}
		}
		t.Errorf("%s: wanted is %s with the status %d, which says %q; found is:\n%+v", name, check, status, says, found)
	}
	all, mine := aws.Registration{}, aws.Registration{Roles: []string{"kube.production.payments"}}
	step("nothing is there", all, asked, registration.Broken, "aws.provider", "has no identity provider for "+issuer)
	s.says("--service-account production/payments --yes")
	for _, r := range []aws.Registration{all, mine, {Roles: []string{"arn:aws:iam::" + cloud.AccountID + ":role/kube.production.payments"}, Account: cloud.AccountID, Partition: "aws"}} {
		for _, f := range r.Examine(t.Context(), asked) {
			if f.Status != registration.Well {
				t.Errorf("healthy: %+v", f)
			}
		}
	}
	step("a role", mine, asked, registration.Well, "aws.trust", "role kube.production.payments, for sessions of at most 1h0m0s")
	other := asked
	other.Subject = "system:serviceaccount:production:reports"
	step("another workload", all, other, registration.Broken, "aws.trust", "does not let "+other.Subject+" in")
	step("a role that is not there", aws.Registration{Roles: []string{"mail"}}, asked, registration.Broken, "aws.trust", "has no role mail")
	step("another account", aws.Registration{Account: "111122223333"}, asked, registration.Unknown, "aws.provider", "--account is 111122223333")
	slash := asked
	slash.Issuer = strings.Replace(issuer, "/prod", "/Prod", 1)
	step("a provider that differs in case", all, slash, registration.Broken, "aws.provider", "which differs in case")
	port := asked
	port.Issuer = "https://oidc.example.com:8443/prod"
	step("an issuer with a port", all, port, registration.Broken, "aws.provider", "IAM takes no port")
	s.drifts(step, all, mine)
	s.audiences(step)
	s.denied(step)
	for _, check := range aws.Checks() {
		if !provoked[check] {
			t.Errorf("nothing broke %s", check)
		}
	}
}

func (s *scene) setPolicy(text string) {
	s.Helper()
	_, err := s.iam.UpdateAssumeRolePolicy(s.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: sdk.String("kube.production.payments"), PolicyDocument: &text})
	s.must(err)
}

type stepper func(name string, r aws.Registration, w registration.Wanted, status registration.Status, check, says string)

// drifts of the trust policy, seen among all roles and in the one that is named.
func (s *scene) drifts(step stepper, all, mine aws.Registration) {
	s.Helper()
	for _, drift := range []struct {
		name     string
		old, new string
		status   registration.Status
		check    string
		says     string
	}{
		{"a wildcard that is none", "production:payments", "production:*", registration.Broken, "aws.trust", "StringLike does not"},
		{"another case", "production:payments", "production:Payments", registration.Broken, "aws.trust", "upper and lower case"},
		{"another audience", "sts.amazonaws.com\"", "vault\"", registration.Broken, "aws.trust", ":aud is vault, the token has sts.amazonaws.com"},
		{"the claims of another issuer", host + ":sub", "oidc.example.com/old:sub", registration.Broken, "aws.trust", "oidc.example.com/old:sub is about a claim that AWS does not read"},
		{"no subject", `,"` + host + `:sub":"` + payments + `"`, ``, registration.Broken, "aws.conditions", "every service account of the cluster"},
		{"no audience", `"` + host + `:aud":"sts.amazonaws.com",`, ``, registration.Doubtful, "aws.conditions", "takes any audience"},
		{"an address", `"Condition":{`, `"Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},`, registration.Doubtful, "aws.trust", "IpAddress aws:SourceIp"},
	} {
		before := s.policy("kube.production.payments")
		if !strings.Contains(before, drift.old) {
			s.Fatalf("%s: the policy is %s", drift.name, before)
		}
		s.setPolicy(strings.Replace(before, drift.old, drift.new, 1))
		if lets := s.assume("kube.production.payments", "production:payments") == nil; drift.status == registration.Broken && lets != (drift.check != "aws.trust") {
			s.Errorf("%s: the stand-in of STS lets it in: %t", drift.name, lets)
		}
		step(drift.name, all, asked, drift.status, drift.check, drift.says)
		step(drift.name+", of a role that is named", mine, asked, drift.status, drift.check, drift.says)
		s.setPolicy(before)
	}
}

func (s *scene) audiences(step stepper) {
	s.Helper()
	add := func(audience string) {
		_, err := s.iam.AddClientIDToOpenIDConnectProvider(s.Context(), &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: sdk.String(arn), ClientID: &audience})
		s.must(err)
	}
	remove := func(audience string) {
		_, err := s.iam.RemoveClientIDFromOpenIDConnectProvider(s.Context(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: sdk.String(arn), ClientID: &audience})
		s.must(err)
	}
	add(issuer)
	step("every pod's default token", aws.Registration{}, asked, registration.Doubtful, "aws.audience", "every pod's default token")
	remove("sts.amazonaws.com")
	step("the audience is missing", aws.Registration{}, asked, registration.Broken, "aws.audience", "does not take the audience sts.amazonaws.com")
	add("sts.amazonaws.com")
	remove(issuer)
}

// denied takes rights away: what is then not seen is neither broken nor well.
func (s *scene) denied(step stepper) {
	s.Helper()
	for _, right := range []struct{ missing, check string }{
		{"iam:GetOpenIDConnectProvider", "aws.provider"}, {"iam:ListRoles", "aws.trust"}, {"iam:GetRole", "aws.trust"},
	} {
		name := "without-" + strings.TrimPrefix(right.missing, "iam:")
		_, err := s.iam.CreateUser(s.Context(), &iam.CreateUserInput{UserName: &name})
		s.must(err)
		policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": []any{
			map[string]any{"Effect": "Allow", "Action": "*", "Resource": "*"}, map[string]any{"Effect": "Deny", "Action": right.missing, "Resource": "*"},
		}})
		s.must(err)
		_, err = s.iam.PutUserPolicy(s.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: sdk.String("rights"), PolicyDocument: sdk.String(string(policy))})
		s.must(err)
		made, err := s.iam.CreateAccessKey(s.Context(), &iam.CreateAccessKeyInput{UserName: &name})
		s.must(err)
		s.Setenv("AWS_ACCESS_KEY_ID", *made.AccessKey.AccessKeyId)
		s.Setenv("AWS_SECRET_ACCESS_KEY", *made.AccessKey.SecretAccessKey)
		r := aws.Registration{}
		if right.missing == "iam:GetRole" {
			r.Roles = []string{"kube.production.payments"}
		}
		step(name, r, asked, registration.Unknown, right.check, "lack the right "+right.missing)
	}
}

// What the evaluation comes to is what the stand-in of STS does, which is not ours.
func TestEvaluationIsSTS(t *testing.T) {
	s := start(t)
	s.says("--service-account production/payments --yes")
	token := iampolicy.Token{Provider: arn, Host: host, Subject: payments, Audience: "sts.amazonaws.com"}
	for _, conditions := range []string{
		`{}`, `{"StringEquals":{"HOST:aud":"sts.amazonaws.com"}}`, `{"StringEquals":{"HOST:aud":"vault"}}`,
		`{"StringEquals":{"HOST:sub":["a","` + payments + `"]}}`, `{"StringEquals":{"HOST:sub":"system:serviceaccount:production:*"}}`,
		`{"StringLike":{"HOST:sub":"system:serviceaccount:production:*"}}`, `{"StringLike":{"HOST:sub":"system:serviceaccount:prod:*"}}`,
		`{"StringLike":{"HOST:sub":"system:serviceaccount:production:payment?"}}`, `{"StringLike":{"HOST:sub":"system:serviceaccount:production:payments?"}}`,
		`{"StringNotEquals":{"HOST:sub":"` + payments + `"}}`, `{"StringNotEquals":{"HOST:sub":"a"}}`, `{"StringNotLike":{"HOST:sub":"system:*"}}`,
		`{"StringEqualsIgnoreCase":{"HOST:sub":"SYSTEM:serviceaccount:production:payments"}}`, `{"StringEquals":{"HOST:sub":"SYSTEM:serviceaccount:production:payments"}}`,
		`{"StringEquals":{"HOST:aud":"sts.amazonaws.com"},"StringLike":{"HOST:sub":"system:serviceaccount:test:*"}}`,
		`{"StringEquals":{"oidc.example.com:sub":"` + payments + `"}}`, `{"StringEqualsIfExists":{"HOST:amr":"x"}}`, `{"StringEquals":{"HOST:amr":"x"}}`,
		`{"Null":{"HOST:sub":"false"}}`, `{"Null":{"HOST:sub":"true"}}`, `{"ForAnyValue:StringEquals":{"HOST:aud":["vault","sts.amazonaws.com"]}}`,
	} {
		document := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + arn + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":` +
			strings.ReplaceAll(conditions, "HOST", host) + `}]}`
		s.setPolicy(document)
		policy, err := iampolicy.Parse(document)
		s.must(err)
		err = s.assume("kube.production.payments", "production:payments")
		if d := policy.Decide(token); (d.Verdict == iampolicy.Allowed) != (err == nil) {
			t.Errorf("%s: %+v, and it says %v", conditions, d, err)
		}
	}
}

// Roles come in pages, and one that names the issuer may be on the last.
func TestExamineReadsEveryPage(t *testing.T) {
	document, err := json.Marshal(trust.AWS{Partition: "aws", Account: "111122223333", Audience: "sts.amazonaws.com"}.Document(trust.Selection{
		Accounts: []trust.ServiceAccount{{Namespace: "production", Name: "payments"}}, Clusters: []trust.Cluster{{Issuer: "https://oidc.example.com/prod"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := r.FormValue("Action")
		body := answers[action]
		if action == "ListRoles" {
			role := func(name, document string) string {
				return `<Roles><member><Path>/</Path><RoleName>` + name + `</RoleName><AssumeRolePolicyDocument><![CDATA[` + document + `]]></AssumeRolePolicyDocument></member></Roles>`
			}
			body = role("other", `{"Statement":{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}}`) + `<IsTruncated>true</IsTruncated><Marker>2</Marker>`
			if r.FormValue("Marker") == "2" {
				body = role("payments", string(document)) + `<IsTruncated>false</IsTruncated>`
			}
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, body)
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1",
	} {
		t.Setenv(name, value)
	}
	found := aws.Registration{}.Examine(t.Context(), registration.Wanted{Issuer: "https://oidc.example.com/prod", Subject: payments})
	if !slices.ContainsFunc(found, func(f registration.Finding) bool {
		return f.Check == "aws.trust" && f.Status == registration.Well && strings.Contains(f.Detail, "role payments")
	}) {
		t.Errorf("%+v", found)
	}
}
