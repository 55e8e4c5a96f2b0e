package aws_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// The stand-in for IAM has no managed policies, so this part of a removal is played: answers in the forms of IAM's API reference.
const (
	trustsIssuer = `%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Principal%22%3A%7B%22Federated%22%3A%22` +
		`arn%3Aaws%3Aiam%3A%3A111122223333%3Aoidc-provider%2Foidc.example.com%2Fprod%22%7D%2C%22Action%22%3A%22sts%3AAssumeRoleWithWebIdentity%22%7D%5D%7D`
	someRole = `<Role><Path>/</Path><RoleName>kube.a.b</RoleName><RoleId>AROAEXAMPLE</RoleId><Arn>arn:aws:iam::111122223333:role/kube.a.b</Arn>` +
		`<CreateDate>2026-11-20T00:00:00Z</CreateDate><AssumeRolePolicyDocument>` + trustsIssuer + `</AssumeRolePolicyDocument></Role>`
)

var answers = map[string]string{
	"GetCallerIdentity": `<Account>111122223333</Account><Arn>arn:aws:iam::111122223333:user/a</Arn><UserId>AIDAEXAMPLE</UserId>`,
	"GetRole":           someRole,
	"ListRoleTags":      `<Tags><member><Key>managed-by</Key><Value>kube-iam-assume</Value></member></Tags><IsTruncated>false</IsTruncated>`,
	"ListRolePolicies":  `<PolicyNames></PolicyNames><IsTruncated>false</IsTruncated>`,
	"ListAttachedRolePolicies": `<AttachedPolicies><member><PolicyName>payments</PolicyName><PolicyArn>arn:aws:iam::111122223333:policy/payments</PolicyArn></member></AttachedPolicies>` +
		`<IsTruncated>false</IsTruncated>`,
	"ListRoles":                   `<Roles><member>` + strings.TrimSuffix(strings.TrimPrefix(someRole, "<Role>"), "</Role>") + `</member></Roles><IsTruncated>false</IsTruncated>`,
	"GetOpenIDConnectProvider":    `<Url>oidc.example.com/prod</Url><ClientIDList><member>sts.amazonaws.com</member></ClientIDList>`,
	"DetachRolePolicy":            ``,
	"DeleteRole":                  ``,
	"DeleteOpenIDConnectProvider": ``,
}

func TestRemovalDetachesManagedPolicies(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		action := r.FormValue("Action")
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(action, "De") {
			calls = append(calls, action+" "+r.FormValue("PolicyArn"))
		}
		body, known := answers[action]
		if !known {
			t.Errorf("a call of %s", action)
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<%[1]sResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><%[1]sResult>%[2]s</%[1]sResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></%[1]sResponse>`, action, body)
	}))
	t.Cleanup(server.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1",
	} {
		t.Setenv(name, value)
	}
	s := &scene{T: t}
	out, err := s.with("", strings.Fields("--issuer https://oidc.example.com/prod --service-account a/b --remove --yes"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []string{"DetachRolePolicy arn:aws:iam::111122223333:policy/payments", "DeleteRole ", "DeleteOpenIDConnectProvider "}
	if strings.Join(calls, "\n") != strings.Join(want, "\n") || !strings.Contains(out, "detach arn:aws:iam::111122223333:policy/payments") {
		t.Errorf("calls %q\n%s", calls, out)
	}
}
