package iampolicy_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration/iampolicy"
)

const (
	arn  = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/prod"
	host = "oidc.example.com/prod"
)

var token = iampolicy.Token{Provider: arn, Host: host, Subject: "system:serviceaccount:production:payments", Audience: "sts.amazonaws.com"}

// policy is one with an allowing statement for the issuer, with these conditions, and further statements.
func policy(conditions string, further ...string) string {
	statement := `{"Effect":"Allow","Principal":{"Federated":"` + arn + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":` + strings.ReplaceAll(conditions, "HOST", host) + `}`
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(append([]string{statement}, further...), ",") + `]}`
}

const exact = `{"StringEquals":{"HOST:sub":"system:serviceaccount:production:payments","HOST:aud":"sts.amazonaws.com"}}`

// The rules are those of IAM's reference: policy elements, condition operators, evaluation logic.
var cases = map[string]struct {
	document string
	want     iampolicy.Verdict
	says     string
}{
	"as setup writes it":       {policy(exact), iampolicy.Allowed, ""},
	"a list of subjects":       {policy(`{"StringEquals":{"HOST:sub":["a","system:serviceaccount:production:payments"]}}`), iampolicy.Allowed, ""},
	"no condition":             {policy(`{}`), iampolicy.Allowed, ""},
	"one statement, no list":   {`{"Statement":{"Effect":"Allow","Principal":{"Federated":["x","` + arn + `"]},"Action":["sts:TagSession","sts:AssumeRoleWithWebIdentity"]}}`, iampolicy.Allowed, ""},
	"everybody":                {`{"Statement":{"Effect":"Allow","Principal":"*","Action":"sts:*"}}`, iampolicy.Allowed, ""},
	"everything but":           {`{"Statement":{"Effect":"Allow","Principal":{"Federated":"` + arn + `"},"NotAction":"sts:AssumeRole"}}`, iampolicy.Allowed, ""},
	"an action in lower case":  {`{"Statement":{"Effect":"Allow","Principal":{"Federated":"` + arn + `"},"Action":"sts:assumerolewithwebidentity"}}`, iampolicy.Allowed, ""},
	"another provider":         {strings.ReplaceAll(policy(exact), arn, arn+"-2"), iampolicy.Refused, "no statement that allows something names " + arn},
	"another action":           {strings.ReplaceAll(policy(exact), "sts:AssumeRoleWithWebIdentity", "sts:AssumeRole"), iampolicy.Refused, "its action is sts:AssumeRole,"},
	"another subject":          {policy(`{"StringEquals":{"HOST:sub":"system:serviceaccount:a:b"}}`), iampolicy.Refused, "the token has system:serviceaccount:production:payments"},
	"a subject with a slash":   {policy(`{"StringEquals":{"HOST:sub":"system:serviceaccount:production/payments"}}`), iampolicy.Refused, "separators"},
	"a pattern":                {policy(`{"StringLike":{"HOST:sub":"system:serviceaccount:production:p*y?ents"}}`), iampolicy.Allowed, ""},
	"a pattern that is none":   {policy(`{"StringEquals":{"HOST:sub":"system:serviceaccount:production:*"}}`), iampolicy.Refused, "StringLike does not"},
	"? is one character":       {policy(`{"StringLike":{"HOST:sub":"system:serviceaccount:production:payments?"}}`), iampolicy.Refused, ""},
	"case counts":              {policy(`{"StringLike":{"HOST:sub":"system:serviceaccount:Production:*"}}`), iampolicy.Refused, ""},
	"case does not count":      {policy(`{"StringEqualsIgnoreCase":{"HOST:sub":"system:serviceaccount:Production:payments"}}`), iampolicy.Allowed, ""},
	"not":                      {policy(`{"StringNotEquals":{"HOST:sub":["a","system:serviceaccount:production:payments"]}}`), iampolicy.Refused, ""},
	"not another":              {policy(`{"StringNotLike":{"HOST:sub":"system:serviceaccount:kube-*"}}`), iampolicy.Allowed, ""},
	"all conditions must hold": {policy(`{"StringEquals":{"HOST:aud":"sts.amazonaws.com"},"StringLike":{"HOST:sub":"system:serviceaccount:test:*"}}`), iampolicy.Refused, ":sub"},
	"a claim AWS does not read": {
		policy(`{"StringEquals":{"HOST:kubernetes.io/namespace":"production"}}`), iampolicy.Refused, "a claim that AWS does not read",
	},
	"keys in another case":     {policy(`{"StringEquals":{"OIDC.example.com/prod:SUB":"system:serviceaccount:production:payments"}}`), iampolicy.Allowed, ""},
	"if it exists":             {policy(`{"StringEqualsIfExists":{"HOST:amr":"x"}}`), iampolicy.Allowed, ""},
	"not, of what is not":      {policy(`{"StringNotEquals":{"HOST:amr":"x"}}`), iampolicy.Allowed, ""},
	"null":                     {policy(`{"Null":{"HOST:sub":"false","HOST:amr":true}}`), iampolicy.Allowed, ""},
	"null of what is there":    {policy(`{"Null":{"HOST:sub":"true"}}`), iampolicy.Refused, "Null"},
	"for any value":            {policy(`{"ForAnyValue:StringLike":{"HOST:aud":["vault","sts.*"]}}`), iampolicy.Allowed, ""},
	"for all values of none":   {policy(`{"ForAllValues:StringEquals":{"HOST:amr":"x"}}`), iampolicy.Allowed, ""},
	"an address":               {policy(`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}`), iampolicy.Depends, "does not say"},
	"an address and a subject": {policy(`{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},"StringEquals":{"HOST:sub":"x"}}`), iampolicy.Refused, ":sub"},
	"a session's name":         {policy(`{"StringEquals":{"sts:RoleSessionName":"pod"}}`), iampolicy.Depends, "RoleSessionName"},
	"a variable":               {policy(`{"StringEquals":{"HOST:sub":"${aws:PrincipalTag/x}"}}`), iampolicy.Depends, "variable"},
	"a comparison of numbers":  {policy(`{"NumericEquals":{"HOST:sub":"1"}}`), iampolicy.Depends, "no comparison of text"},
	"the second statement does": {
		policy(`{"StringEquals":{"HOST:sub":"x"}}`, `{"Effect":"Allow","Principal":{"Federated":"`+arn+`"},"Action":"sts:AssumeRoleWithWebIdentity"}`), iampolicy.Allowed, "",
	},
	"denied":                   {policy(exact, `{"Effect":"Deny","Principal":{"Federated":"`+arn+`"},"Action":"*"}`), iampolicy.Refused, "Deny"},
	"denied to everybody else": {policy(exact, `{"Effect":"Deny","NotPrincipal":{"Federated":"`+arn+`"},"Action":"*"}`), iampolicy.Allowed, ""},
	"denied to others":         {policy(exact, `{"Effect":"Deny","Principal":"*","Action":"*","Condition":{"StringNotEquals":{"`+host+`:aud":"sts.amazonaws.com"}}}`), iampolicy.Allowed, ""},
	"denied by address":        {policy(exact, `{"Effect":"Deny","Principal":"*","Action":"*","Condition":{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}}`), iampolicy.Depends, "Deny"},
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for name, c := range cases {
		for form, document := range map[string]string{"": c.document, ", encoded": url.PathEscape(c.document)} {
			p, err := iampolicy.Parse(document)
			if err != nil {
				t.Errorf("%s%s: %v", name, form, err)
				continue
			}
			if d := p.Decide(token); d.Verdict != c.want || !strings.Contains(d.Why, c.says) || (d.Why == "") != (d.Verdict == iampolicy.Allowed) {
				t.Errorf("%s%s: %+v, want %d that says %q", name, form, d, c.want, c.says)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, document := range []string{
		"", "%zz", "null", "[]", "{}", `{"Statement":[]}`, `{"Statement":"x"}`, `{"Statement":{"Action":{}}}`, `{"Statement":{"Condition":{"StringEquals":{"a":[{}]}}}}`,
		"{" + strings.Repeat(" ", 70_000) + "}",
	} {
		if _, err := iampolicy.Parse(document); !errors.Is(err, iampolicy.ErrPolicy) {
			t.Errorf("%.60q: %v", document, err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]bool{
		policy(`{}`): true, strings.ReplaceAll(policy(`{}`), arn, arn+"-2"): false, strings.ReplaceAll(policy(`{}`), "Allow", "Deny"): false,
	} {
		if p, err := iampolicy.Parse(document); err != nil || p.Names(arn) != want {
			t.Errorf("%s: %v", document, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add(c.document)
	}
	f.Fuzz(func(t *testing.T, document string) {
		p, err := iampolicy.Parse(document)
		if err != nil {
			return
		}
		if d := p.Decide(token); d.Verdict != iampolicy.Allowed && d.Why == "" {
			t.Fatalf("%+v without a reason", d)
		}
	})
}
