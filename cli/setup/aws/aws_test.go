package aws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	s3sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/aws"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	cloud "github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

func TestMain(m *testing.M) { cloud.Main(m) }

const (
	region = "us-east-1" // which the stand-in of STS has, whatever the region
	host   = "oidc-demo.s3." + region + ".amazonaws.com/prod"
	issuer = "https://" + host
	arn    = "arn:aws:iam::" + cloud.AccountID + ":oidc-provider/" + host
)

// scene is an account in which nothing is registered yet, with an issuer's documents published, and the command's environment.
type scene struct {
	*testing.T
	cloud *cloud.Cloud
	iam   *iam.Client
	key   snapshottest.Key
}

func start(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, cloud: cloud.StartCloud(t, region), key: snapshottest.NewRSAKey()}
	s.iam = iam.NewFromConfig(s.cloud.Config())
	for _, variable := range s.cloud.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	s.cloud.CreateBucket(t, "oidc-demo", false)
	client := s3sdk.NewFromConfig(s.cloud.Config())
	discovery, err := json.Marshal(map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	})
	s.must(err)
	for name, body := range map[string][]byte{"prod/openid/v1/jwks": jwks.Set{s.key.Key}.Encode(), "prod/.well-known/openid-configuration": discovery} {
		_, err := client.PutObject(t.Context(), &s3sdk.PutObjectInput{Bucket: sdk.String("oidc-demo"), Key: &name, Body: bytes.NewReader(body), ContentType: sdk.String("application/json")})
		s.must(err)
	}
	_, err = client.PutBucketPolicy(t.Context(), &s3sdk.PutBucketPolicyInput{Bucket: sdk.String("oidc-demo"), Policy: sdk.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::oidc-demo/prod/*"}]}`)})
	s.must(err)
	return s
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// run is the command, with what it prints.
func (s *scene) run(stdin string, arguments ...string) (string, error) {
	s.Helper()
	return s.with(stdin, append([]string{"--issuer", issuer}, arguments...))
}

func (s *scene) with(stdin string, arguments []string) (string, error) {
	s.Helper()
	c := aws.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetIn(strings.NewReader(stdin))
	c.SetArgs(arguments)
	err := c.ExecuteContext(s.Context())
	return out.String(), err
}

// says runs the command, which must succeed and say all of these.
func (s *scene) says(arguments string, want ...string) {
	s.Helper()
	out, err := s.run("", strings.Fields(arguments)...)
	if err != nil {
		s.Fatalf("%s: %v\n%s", arguments, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			s.Fatalf("%s: says nothing of %q:\n%s", arguments, text, out)
		}
	}
}

const unchanged = "It is so already: nothing to change."

// assume is what a pod does.
func (s *scene) assume(role, account string) error {
	now := snapshottest.Token(s.key, claims(account))
	_, err := sts.NewFromConfig(s.cloud.ConfigOf(sdk.Credentials{})).AssumeRoleWithWebIdentity(s.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: sdk.String("arn:aws:iam::" + cloud.AccountID + ":role/" + role), RoleSessionName: sdk.String("pod"), WebIdentityToken: &now, DurationSeconds: sdk.Int32(900),
	})
	return err
}

func (s *scene) policy(role string) string {
	s.Helper()
	found, err := s.iam.GetRole(s.Context(), &iam.GetRoleInput{RoleName: &role})
	s.must(err)
	text, err := url.PathUnescape(*found.Role.AssumeRolePolicyDocument)
	s.must(err)
	return text
}

func TestSetup(t *testing.T) {
	s := start(t)
	const account = "--service-account production/payments"

	// The plan, and a person who does not agree.
	s.says(account+" --dry-run", "create", "identity provider "+arn, "audience sts.amazonaws.com", "role kube.production.payments", "system:serviceaccount:production:payments of "+issuer)
	if out, err := s.run("n\n", strings.Fields(account)...); !errors.Is(err, plan.ErrDeclined) || !strings.Contains(out, "Go on?") {
		t.Fatalf("a person who does not agree: %v\n%s", err, out)
	}
	if list, err := s.iam.ListOpenIDConnectProviders(t.Context(), &iam.ListOpenIDConnectProvidersInput{}); err != nil || len(list.OpenIDConnectProviderList) != 0 {
		t.Fatalf("something was made: %v, %v", list, err)
	}

	// Made, and used by a pod; again, and nothing changes.
	if out, err := s.run("y\n", strings.Fields(account)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.must(s.assume("kube.production.payments", "production:payments"))
	if err := s.assume("kube.production.payments", "production:reports"); err == nil {
		t.Error("another account is let in")
	}
	s.says(account+" --yes", unchanged)
	s.says(account+" --yes -o json", `"changes": []`)

	s.drift(account)
	s.adopt()
	s.remove(account)
}

// drift is repaired, and told: a wildcard, a lost audience.
func (s *scene) drift(account string) {
	role := sdk.String("kube.production.payments")
	wide := strings.NewReplacer("StringEquals", "StringLike", "production:payments", "*").Replace(s.policy(*role))
	_, err := s.iam.UpdateAssumeRolePolicy(s.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &wide})
	s.must(err)
	s.must(s.assume(*role, "production:reports"))
	_, err = s.iam.RemoveClientIDFromOpenIDConnectProvider(s.Context(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: sdk.String(arn), ClientID: sdk.String("sts.amazonaws.com")})
	s.must(err)
	s.says(account+" --yes", "add the audience sts.amazonaws.com", "trust policy of role kube.production.payments", "instead of system:serviceaccount:* of "+issuer)
	s.must(s.assume(*role, "production:payments"))
	if err := s.assume(*role, "production:reports"); err == nil {
		s.Error("another account is still let in")
	}
	s.says(account+" --yes", unchanged)
}

// A role that is there keeps what it trusts besides.
func (s *scene) adopt() {
	const own = `{"Version":"2012-10-17","Statement":[{"Sid":"Node","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"sts:AssumeRole"}]}`
	_, err := s.iam.CreateRole(s.Context(), &iam.CreateRoleInput{RoleName: sdk.String("reports"), AssumeRolePolicyDocument: sdk.String(own)})
	s.must(err)
	const arguments = "--service-account production/reports --service-account production/mail --role reports"
	s.says(arguments+" --yes", "update", "and as before 1 statements of others")
	s.must(s.assume("reports", "production:mail"))
	if !strings.Contains(s.policy("reports"), `"Sid":"Node"`) {
		s.Errorf("the statement that was there is lost: %s", s.policy("reports"))
	}
	s.says(arguments+" --yes", unchanged)
	s.says(arguments+" --yes --remove", "the role stays for 1 statements of others", "stays: it is trusted by role kube.production.payments")
	if left := s.policy("reports"); !sameJSON(left, own) {
		s.Errorf("removal left %s", left)
	}
	if err := s.assume("reports", "production:mail"); err == nil {
		s.Error("let in after removal")
	}
	// A role of somebody else that trusts nobody but the issuer is not setup's to delete.
	_, err = s.iam.CreateRole(s.Context(), &iam.CreateRoleInput{RoleName: sdk.String("foreign"), AssumeRolePolicyDocument: sdk.String(s.policy("kube.production.payments"))})
	s.must(err)
	if _, err := s.run("", "--role", "foreign", "--yes", "--remove"); !errors.Is(err, aws.ErrTrust) {
		s.Errorf("a role of somebody else: %v", err)
	}
	_, err = s.iam.DeleteRole(s.Context(), &iam.DeleteRoleInput{RoleName: sdk.String("foreign")})
	s.must(err)
}

// Removal takes the role's policies, the role and the provider, in this order; again, and nothing changes.
func (s *scene) remove(account string) {
	_, err := s.iam.PutRolePolicy(s.Context(), &iam.PutRolePolicyInput{RoleName: sdk.String("kube.production.payments"), PolicyName: sdk.String("data"), PolicyDocument: sdk.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::data/*"}]}`)})
	s.must(err)
	s.says("--yes --remove", unchanged, "stays: it is trusted by role kube.production.payments")
	out, err := s.run("", append(strings.Fields(account), "--yes", "--remove")...)
	s.must(err)
	last := 0
	for _, step := range []string{"Done: delete inline policy data", "Done: delete role kube.production.payments", "Done: delete identity provider " + arn} {
		at := strings.Index(out, step)
		if at < last {
			s.Fatalf("%q is not in its place:\n%s", step, out)
		}
		last = at
	}
	s.says(account+" --yes --remove", unchanged)
}

// What is wrong is told before anybody is asked.
func TestRefusals(t *testing.T) {
	s := &scene{T: t}
	for arguments, want := range map[string]string{
		"--role payments": "--role is for somebody",
		"--service-account a/b --service-account a/c":                            "give it a name with --role",
		"--service-account a/b --role *":                                         "want 1 to 64 letters",
		"--service-account a/b --print xml":                                      "want cli or terraform",
		"--service-account a/b --print cli":                                      "needs --account",
		"--service-account a/b --print cli --account 111122223333 --remove":      "--print changes nothing",
		"--service-account a/b -o json":                                          "want --dry-run or --yes",
		"--service-account a/* --dry-run":                                        "a wildcard would hand",
		"--service-account a/b --issuer https://oidc.example.com:8443 --dry-run": "IAM takes no port",
		"--service-account a/b --account 1 --dry-run":                            "want 12 digits",
	} {
		if _, err := s.run("", strings.Fields(arguments)...); !errors.Is(err, command.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
}

func claims(account string) map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": issuer, "sub": "system:serviceaccount:" + account, "aud": []string{"sts.amazonaws.com"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
