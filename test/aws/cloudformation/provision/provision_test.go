package provision

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

const (
	worldReads  = `{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/doc"}`
	tlsOnly     = `{"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}`
	onlyOne     = `{"Effect": "Deny", "Principal": "*", "Action": ["s3:PutObject", "s3:DeleteObject"], "Resource": "arn:aws:s3:::b/*", "Condition": {"ArnNotEquals": {"aws:PrincipalArn": "role"}}}`
	conditional = `{"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*", "Condition": {"Null": {"s3:if-match": "true", "s3:if-none-match": "true"}}}`
)

func TestGate(t *testing.T) {
	t.Parallel()
	gate, rest, err := split(parse(t, `{"Statement": [`+strings.Join([]string{worldReads, tlsOnly, onlyOne, conditional}, ",")+`]}`))
	if err != nil || len(gate) != 2 || len(rest) != 2 || !isPublic(rest) {
		t.Fatalf("%v, %v, %v", gate, rest, err)
	}
	a := &Account{buckets: map[string]*bucket{"b": {gate: gate}}, sessions: map[string]string{"KEY": "role", "OTHER": "another"}}
	for name, c := range map[string]struct {
		method, path, key, header string
		denied                    bool
	}{
		"the role, conditional":       {http.MethodPut, "/b/doc", "KEY", "If-Match", false},
		"the role, create":            {http.MethodPut, "/b/doc", "KEY", "If-None-Match", false},
		"the role, blindly":           {http.MethodPut, "/b/doc", "KEY", "", true},
		"another role":                {http.MethodPut, "/b/doc", "OTHER", "If-Match", true},
		"nobody":                      {http.MethodPut, "/b/doc", "", "If-Match", true},
		"another deletes":             {http.MethodDelete, "/b/doc", "OTHER", "", true},
		"another deletes a version":   {http.MethodDelete, "/b/doc?versionId=1", "OTHER", "", false}, // not in the statement
		"a multipart upload, blindly": {http.MethodPost, "/b/doc?uploads", "KEY", "", true},
		"a stranger reads":            {http.MethodGet, "/b/doc", "", "", false},
		"another bucket":              {http.MethodPut, "/c/doc", "OTHER", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody)
			if c.key != "" {
				r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+c.key+"/20260101/r/s3/aws4_request")
			}
			if c.header != "" {
				r.Header.Set(c.header, "x")
			}
			bucket, key := a.bucketOf(r)
			if reason := a.denied(bucket, key, r); (reason != "") != c.denied {
				t.Errorf("denied: %q", reason)
			}
		})
	}
}

func TestGateOfBlockedBuckets(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/b/doc", http.NoBody)
	for name, a := range map[string]*Account{
		"account": {buckets: map[string]*bucket{"b": {}}, blocked: BlockPublicAccess{Buckets: true}},
		"bucket":  {buckets: map[string]*bucket{"b": {block: BlockPublicAccess{Buckets: true}}}},
	} {
		if a.denied("b", "doc", r) == "" {
			t.Errorf("%s: a stranger gets in", name)
		}
	}
}

// What can be judged neither here nor by versitygw is refused.
func TestUnjudgedPolicies(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"allow by principal": strings.Replace(onlyOne, "Deny", "Allow", 1),
		"two kinds":          strings.Replace(onlyOne, `"Condition": {`, `"Condition": {"Bool": {"aws:SecureTransport": "false"}, `, 1),
		"another operator":   strings.Replace(onlyOne, "ArnNotEquals", "ArnNotLike", 1),
		"half a condition":   strings.Replace(conditional, `, "s3:if-none-match": "true"`, "", 1),
		"other principals":   strings.Replace(onlyOne, `"Principal": "*"`, `"Principal": {"AWS": "x"}`, 1),
	} {
		if gate, rest, err := split(parse(t, `{"Statement": [`+statement+`]}`)); err == nil {
			t.Errorf("%s: %v, %v", name, gate, rest)
		}
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	a := &Account{options: Options{ID: "000000000000"}, principals: &principals{host: "services.example"}}
	const federated = `{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"p"}}`
	document := `{"Statement": [` + federated + `, {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}]}`
	got, err := a.trust(document)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Version": "2012-10-17", "Statement": [` + federated + `, {"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
		"Principal": {"Federated": "arn:aws:iam::000000000000:oidc-provider/services.example"},
		"Condition": {"StringEquals": {"services.example:sub": ["lambda.amazonaws.com"]}}}]}`
	if diff := cmp.Diff(parse(t, want), parse(t, got)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`{`, `{"Statement": [{"Effect": "Allow", "Principal": "*"}]}`, `{"Statement": [{"Effect": "Deny", "Principal": {"Service": "x"}}]}`} {
		if _, err := a.trust(bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestAllowed(t *testing.T) {
	t.Parallel()
	a := &Account{roles: map[string]*role{
		"r": {arn: "role", policies: map[string]string{"send": `{"Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:q"}]}`}},
		"s": {arn: "wide", policies: map[string]string{
			"all":  `{"Statement": [{"Effect": "Allow", "Action": "sqs:*", "Resource": "arn:*"}]}`,
			"cond": `{"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"x": "true"}}}]}`,
		}},
	}}
	for _, c := range []struct {
		role, action, resource string
		allowed                bool
	}{
		{"role", "sqs:SendMessage", "arn:q", true},
		{"role", "sqs:SendMessage", "arn:other", false},
		{"role", "sqs:ReceiveMessage", "arn:q", false},
		{"wide", "sqs:ReceiveMessage", "arn:a/b:q", true},
		{"wide", "s3:GetObject", "arn:q", false},
		{"nobody", "sqs:SendMessage", "arn:q", false},
	} {
		if err := a.Allowed(c.role, c.action, c.resource); (err == nil) != c.allowed {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestAsText(t *testing.T) {
	t.Parallel()
	got := asText(parse(t, `{"a": [true, 1, 1.5, "x"], "b": {"c": 120}}`))
	if diff := cmp.Diff(parse(t, `{"a": ["true", "1", "1.5", "x"], "b": {"c": "120"}}`), got); diff != "" {
		t.Error(diff)
	}
}
