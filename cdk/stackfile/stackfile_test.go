package stackfile

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

func TestGood(t *testing.T) {
	t.Parallel()
	for file, issuer := range map[string]string{
		"bucket.yaml":     "https://oidc-111122223333-eu-central-1-an.s3.eu-central-1.amazonaws.com/prod-eu1",
		"cloudfront.yaml": "https://oidc.example.com/prod-eu1",
		"existing.yaml":   "https://oidc.example.com/prod-eu1",
	} {
		s, err := Load("testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Clusters) != 2 || s.Clusters[0].Issuer != issuer || len(s.Roles) != 2 || len(s.Roles[0].Clusters) != 2 {
			t.Errorf("%s: got %+v", file, s)
		}
		if s.PublisherName() != "prod/111122223333" || s.Retention != 48*time.Hour || !s.Queue || s.Webhook != HTTPAPI {
			t.Errorf("%s: the defaults are %+v", file, s)
		}
	}
}

// The function must read what the stack packs.
func TestPackage(t *testing.T) {
	t.Parallel()
	s, err := Load("testdata/bucket.yaml")
	if err != nil {
		t.Fatal(err)
	}
	packed := fstest.MapFS{}
	for name, data := range s.Package() {
		packed[name] = &fstest.MapFile{Data: data}
	}
	p, err := enrollment.LoadFS(packed, "publisher.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "prod/111122223333" || len(p.Issuers) != 2 || p.Issuers[1].URL != s.Clusters[1].Issuer || p.Issuers[1].Path != "prod-us1" {
		t.Errorf("got %+v", p)
	}
}

func TestTrust(t *testing.T) {
	t.Parallel()
	s, err := Load("testdata/bucket.yaml")
	if err != nil {
		t.Fatal(err)
	}
	statement := s.Trust(s.Clusters[:1], "production", "payments")["Statement"].([]any)[0].(map[string]any)
	equals := statement["Condition"].(map[string]any)["StringEquals"].(map[string]any)
	host := "oidc-111122223333-eu-central-1-an.s3.eu-central-1.amazonaws.com/prod-eu1"
	if len(equals) != 2 || equals[host+":aud"] != "sts.amazonaws.com" || equals[host+":sub"] != "system:serviceaccount:production:payments" ||
		statement["Principal"].(map[string]any)["Federated"] != "arn:aws:iam::111122223333:oidc-provider/"+host {
		t.Errorf("got %v", statement)
	}
}

// To YAML, the version of IAM's language is a date unless it is quoted, which nobody does.
func TestPolicyVersionIsText(t *testing.T) {
	t.Parallel()
	quoted := string(must(os.ReadFile("testdata/bucket.yaml")))
	want := must(loadFS(beside(quoted), "stack.yaml")).Roles[1].InlinePolicies
	got := must(loadFS(beside(strings.Replace(quoted, `"2012-10-17"`, "2012-10-17", 1)), "stack.yaml")).Roles[1].InlinePolicies
	if !reflect.DeepEqual(got, want) || got[0].Document["Version"] != "2012-10-17" {
		t.Errorf("got %v, want %v", got, want)
	}
}

// bad is a good file with a change for which it is refused.
type bad struct{ name, old, new, want string }

func TestBad(t *testing.T) {
	t.Parallel()
	refused(t, "bucket.yaml", []bad{
		{"unknown field", "dashboard: true", "dashbord: true", `stack.yaml:19: invalid settings: unknown field "dashbord"`},
		{"duplicate field", "dashboard: true", "name: other", `also on line 3`},
		{"short account", `"111122223333"`, `"1111"`, "want 12 digits"},
		{"region", "region: eu-central-1", "region: Frankfurt", `stack.yaml:5: invalid settings: region "Frankfurt"`},
		{"no hosting", "hosting: {bucket: {prefix: oidc}}", "hosting: {}", "exactly one of bucket, cloudFront and existing, got 0"},
		{"two hostings", "{bucket: {prefix: oidc}}", "{bucket: {prefix: oidc}, existing: https://a.example.com}", "got 2"},
		{"long prefix", "prefix: oidc", "prefix: " + strings.Repeat("o", 35), "at most 63"},
		{"dotted prefix", "prefix: oidc", "prefix: o.idc", "no dots"},
		{"name where a prefix can be", "prefix: oidc", "name: my-oidc", "write prefix instead of name"},
		{"prefix and name", "prefix: oidc", "prefix: oidc, name: oidc", "want a prefix, or a name"},
		{"no account-regional names", "region: eu-central-1", "region: me-south-1", "no account-regional bucket names"},
		{"CloudFront in China", "region: eu-central-1\nhosting: {bucket: {prefix: oidc}}", "region: cn-north-1\nhosting: {cloudFront: {domain: a.example.com}}", "no CloudFront beside it"},
		{"certificate elsewhere", "{bucket: {prefix: oidc}}", "{cloudFront: {domain: a.example.com, certificateARN: 'arn:aws:acm:eu-central-1:111122223333:certificate/a', hostedZoneID: Z1}}", "in us-east-1"},
		{"domain", "{bucket: {prefix: oidc}}", "{cloudFront: {domain: localhost, certificateARN: a, hostedZoneID: Z1}}", `domain "localhost"`},
		{"zone", "{bucket: {prefix: oidc}}", "{cloudFront: {domain: a.example.com, certificateARN: 'arn:aws:acm:us-east-1:111122223333:certificate/a', hostedZoneID: example.com}}", "Route 53"},
		{"no clusters", "clusters/", "elsewhere/", `no directory "elsewhere/"`},
		{"wildcard in a name", "production/payments", `production/*`, "a wildcard would hand the role"},
		{"wildcard in a namespace", "production/payments", `"*/payments"`, "stack.yaml:9"},
		{"unknown cluster", "[prod-eu1, prod-us1]", "[prod-eu1, prod-ap1]", `stack.yaml:13: invalid settings: cluster "prod-ap1" has no file`},
		{"cluster twice", "[prod-eu1, prod-us1]", "[prod-eu1, prod-eu1]", `cluster "prod-eu1" is listed twice`},
		{"no cluster", "clusters: all", "clusters: []", "the role names no clusters"},
		{"clusters as text", "clusters: all", "clusters: some", "want a list of cluster IDs, or all"},
		{"managed policy", "arn:aws:iam::111122223333:policy/payments", "payments", "want its ARN"},
		{"managed policy with a wildcard", "policy/payments", `policy/*`, "without wildcards"},
		{"managed policy twice", "[arn:aws:iam::111122223333:policy/payments]", "[arn:aws:iam::111122223333:policy/payments, arn:aws:iam::111122223333:policy/payments]", "listed twice"},
		{"inline policy twice", "  inlinePolicies:\n", "  inlinePolicies:\n  - {name: read, document: {Version: 2012-10-17, Statement: []}}\n", `inline policy "read" is listed twice`},
		{"inline policy without a name", "name: read\n", "name: ''\n", `inline policy "": want a name`},
		{"inline policy with another field", "name: read\n", "name: read\n    path: /\n", `unknown field "path"`},
		{"inline policy without a document", "    document: {Version", "    # document: {Version", `inline policy "read": want a name`},
		{"a document of an older version", `"2012-10-17"`, `"2008-10-17"`, "stack.yaml:17: invalid settings: this is no policy"},
		{"a document without statements", "Statement: [", "Statements: [", "with Version: \"2012-10-17\" and Statement"},
		{"a document that is not JSON", "Effect: Allow", "Effect: Allow, 1: 2", "JSON has no such thing"},
		{"a document that is a list", "document: {", "document: [a] # {", "want the policy as JSON or YAML"},
		{"account twice", "production/reports", "production/payments", "listed twice"},
		{"e-mail", "oncall@example.com", "oncall", "e-mail address"},
		{"topic", "email: oncall@example.com", "topicARN: oncall", "ARN of an SNS topic"},
		{"e-mail and topic", "email: oncall@example.com", "email: oncall@example.com, topicARN: 'arn:aws:sns:eu-central-1:111122223333:oncall'", "not both"},
		{"webhook", "dashboard: true", "webhook: telnet", "want httpAPI, functionURL or none"},
		{"no door", "dashboard: true", "webhook: none\nqueue: false", "no snapshot could come in"},
		{"log days", "dashboard: true", "logs: {retentionDays: 42}", "CloudWatch Logs knows"},
		{"concurrency", "dashboard: true", "reservedConcurrency: 1", "want 5 or more"},
		{"retention", "dashboard: true", "retention: -1h", "longer than the longest token"},
		{"mirror with a slash", "dashboard: true", "mirrors: [https://m.example.com/]", "stack.yaml:19: invalid settings: mirror"},
		{"mirror twice", "dashboard: true", "mirrors: [https://m.example.com, https://m.example.com]", "is listed already"},
		{"mirror of itself", "dashboard: true", "mirrors: [https://oidc-111122223333-eu-central-1-an.s3.eu-central-1.amazonaws.com]", "this stack's own host"},
		{"kind", "kind: AWSStack", "kind: Stack", `kind is "Stack", want "AWSStack"`},
	})
}

func TestBadExisting(t *testing.T) {
	t.Parallel()
	refused(t, "existing.yaml", []bad{
		{"a slash", "https://oidc.example.com", "https://oidc.example.com/", "without a port and a trailing slash"},
		{"a port", "https://oidc.example.com", "https://oidc.example.com:8443", "without a port"},
		{"a pattern", "https://oidc.example.com", "https://*.example.com", "want https://HOST"},
		{"capitals", "https://oidc.example.com", "https://OIDC.example.com", "in lower case"},
		{"plain text", "https://oidc.example.com", "http://oidc.example.com", "want https://HOST"},
		{"what IAM does not take", "https://oidc.example.com", "https://oidc.example.com/" + strings.Repeat("a", 230), "IAM takes 255"},
		{"retention", "roles:", "retention: 48h\nroles:", "stack.yaml:8: invalid settings: retention has no effect"},
		{"mirrors", "roles:", "mirrors: [https://m.example.com]\nroles:", "mirrors has no effect"},
		{"webhook", "roles:", "webhook: httpAPI\nroles:", "webhook has no effect"},
		{"queue", "roles:", "queue: true\nroles:", "queue has no effect"},
		{"alarms", "roles:", "alarms: {email: oncall@example.com}\nroles:", "alarms has no effect"},
		{"logs", "roles:", "logs: {retentionDays: 90}\nroles:", "logs has no effect"},
		{"dashboard", "roles:", "dashboard: true\nroles:", "dashboard has no effect"},
		{"concurrency", "roles:", "reservedConcurrency: 5\nroles:", "reservedConcurrency has no effect"},
	})
}

// refused: every refusal names the line, what is wrong, and what to write instead.
func refused(t *testing.T, file string, changes []bad) {
	t.Helper()
	good := string(must(os.ReadFile("testdata/" + file)))
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(good, c.old) {
				t.Fatalf("the good file has no %q", c.old)
			}
			_, err := loadFS(beside(strings.Replace(good, c.old, c.new, 1)), "stack.yaml")
			if !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "stack.yaml") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// Ten clusters in one trust policy are more than IAM takes; a role for each is not.
func TestTrustIsMeasured(t *testing.T) {
	t.Parallel()
	files := beside(string(must(os.ReadFile("testdata/bucket.yaml"))))
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		files["clusters/"+id+".yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(files["clusters/prod-eu1.yaml"].Data), "id: prod-eu1", "id: "+id, 1))}
	}
	_, err := loadFS(files, "stack.yaml")
	if err == nil || !strings.Contains(err.Error(), "L-C07B4B0D") || !strings.Contains(err.Error(), "2048") || !strings.Contains(err.Error(), "perCluster: true") {
		t.Fatalf("got %v", err)
	}
	files["stack.yaml"].Data = []byte(strings.Replace(string(files["stack.yaml"].Data), "clusters: all", "clusters: all\n  perCluster: true", 1))
	if _, err := loadFS(files, "stack.yaml"); err != nil {
		t.Error(err)
	}
}

func TestClustersThatDifferInHyphensOnly(t *testing.T) {
	t.Parallel()
	files := beside(string(must(os.ReadFile("testdata/bucket.yaml"))))
	files["clusters/prodeu1.yaml"] = &fstest.MapFile{Data: []byte(strings.Replace(string(files["clusters/prod-eu1.yaml"].Data), "id: prod-eu1", "id: prodeu1", 1))}
	if _, err := loadFS(files, "stack.yaml"); err == nil || !strings.Contains(err.Error(), "differ only in hyphens") {
		t.Errorf("got %v", err)
	}
}

func TestAFileThatIsNoCluster(t *testing.T) {
	t.Parallel()
	files := beside(string(must(os.ReadFile("testdata/bucket.yaml"))))
	files["clusters/notes.txt"] = &fstest.MapFile{}
	if _, err := loadFS(files, "stack.yaml"); err == nil || !strings.Contains(err.Error(), "notes.txt") {
		t.Errorf("got %v", err)
	}
}

func beside(stack string) fstest.MapFS {
	files := fstest.MapFS{"stack.yaml": &fstest.MapFile{Data: []byte(stack)}}
	for _, name := range []string{"clusters/prod-eu1.yaml", "clusters/prod-us1.yaml"} {
		files[name] = &fstest.MapFile{Data: must(fs.ReadFile(os.DirFS("testdata"), name))}
	}
	return files
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
