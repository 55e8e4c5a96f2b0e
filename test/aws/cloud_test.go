package aws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

const (
	region   = "eu-central-1"
	issuer   = "https://oidc-demo.s3." + region + ".amazonaws.com/prod"
	audience = "sts.amazonaws.com"
	subject  = "system:serviceaccount:production/payments"
)

// TestWholeLoop is what AWS does for a pod: a key published in a bucket, a provider and a role that trust it, a token
// exchanged for credentials, and these credentials' rights.
func TestWholeLoop(t *testing.T) {
	cloud := aws.StartCloud(t, region)
	signer := snapshottest.NewRSAKey()
	publish(t, cloud, signer)
	role := trust(t, cloud)

	for name, refused := range map[string]struct{ token, code string }{
		"another key":      {token(snapshottest.NewRSAKey(), nil), "InvalidIdentityToken"},
		"another audience": {token(signer, map[string]any{"aud": "vault"}), "InvalidIdentityToken"},
		"another subject":  {token(signer, map[string]any{"sub": subject + "2"}), "InvalidIdentityToken"},
		"another issuer":   {token(signer, map[string]any{"iss": issuer + "/"}), "InvalidIdentityToken"},
		"an expired token": {token(signer, map[string]any{"exp": time.Now().Add(-10 * time.Minute).Unix()}), "ExpiredTokenException"},
	} {
		if _, err := assume(t, cloud, role, refused.token); codeOf(err) != refused.code {
			t.Errorf("%s: %v, want %s", name, err, refused.code)
		}
	}
	pod, err := assume(t, cloud, role, token(signer, nil))
	if err != nil {
		t.Fatal(err)
	}
	asPod := awss3.NewFromConfig(cloud.ConfigOf(awssdk.Credentials{
		AccessKeyID: *pod.AccessKeyId, SecretAccessKey: *pod.SecretAccessKey, SessionToken: *pod.SessionToken,
	}))
	if body := read(t, asPod, "allowed/object"); body != "for the pod" {
		t.Errorf("the pod reads %q", body)
	}
	_, err = asPod.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: awssdk.String("data"), Key: awssdk.String("other/object")})
	if codeOf(err) != "AccessDenied" {
		t.Errorf("the pod reads what it may not: %v", err)
	}
}

// publish writes the two documents as the publisher does, and lets the world read them.
func publish(t *testing.T, cloud *aws.Cloud, signer snapshottest.Key) {
	t.Helper()
	cloud.CreateBucket(t, "oidc-demo", true)
	cloud.CreateBucket(t, "data", false)
	for _, name := range []string{"allowed/object", "other/object"} {
		put(t, cloud, "data", name, []byte("for the pod"))
	}
	put(t, cloud, "oidc-demo", "prod/openid/v1/jwks", jwks.Set{signer.Key}.Encode())
	put(t, cloud, "oidc-demo", "prod/.well-known/openid-configuration", marshal(map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256"},
	}))
	_, err := awss3.NewFromConfig(cloud.Config()).PutBucketPolicy(t.Context(), &awss3.PutBucketPolicyInput{
		Bucket: awssdk.String("oidc-demo"), Policy: awssdk.String(policy(map[string]any{
			"Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::oidc-demo/prod/*",
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// put writes through the driver, which finds the bucket by its name alone.
func put(t *testing.T, cloud *aws.Cloud, name, object string, body []byte) {
	t.Helper()
	driver, err := s3.New(awss3.NewFromConfig(cloud.Config()), name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := driver.Put(t.Context(), object, bucket.Object{Body: body, ContentType: "application/json"}, bucket.Absent); err != nil {
		t.Fatal(err)
	}
}

// trust makes the provider and a role that one service account has, and returns the role's ARN.
func trust(t *testing.T, cloud *aws.Cloud) string {
	t.Helper()
	client := iam.NewFromConfig(cloud.Config())
	provider, err := client.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: awssdk.String(issuer), ClientIDList: []string{audience},
	})
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(issuer, "https://")
	role, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: awssdk.String("payments"), AssumeRolePolicyDocument: awssdk.String(policy(map[string]any{
			"Principal": map[string]any{"Federated": *provider.OpenIDConnectProviderArn}, "Action": "sts:AssumeRoleWithWebIdentity",
			"Condition": map[string]any{"StringEquals": map[string]any{host + ":aud": audience, host + ":sub": subject}},
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: awssdk.String("payments"), PolicyName: awssdk.String("data"), PolicyDocument: awssdk.String(policy(map[string]any{
			"Action": "s3:GetObject", "Resource": "arn:aws:s3:::data/allowed/*",
		})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return *role.Role.Arn
}

// token is a service account's, as an API server signs it, with some claims changed.
func token(by snapshottest.Key, changes map[string]any) string {
	now := time.Now()
	claims := map[string]any{
		"iss": issuer, "sub": subject, "aud": []string{audience},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(claims, changes)
	return snapshottest.Token(by, claims)
}

func assume(t *testing.T, cloud *aws.Cloud, role, token string) (*types.Credentials, error) {
	t.Helper()
	client := sts.NewFromConfig(cloud.ConfigOf(awssdk.Credentials{}))
	answer, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role, RoleSessionName: awssdk.String("pod"), WebIdentityToken: &token, DurationSeconds: awssdk.Int32(900),
	})
	if err != nil {
		return nil, err
	}
	return answer.Credentials, nil
}

func read(t *testing.T, client *awss3.Client, name string) string {
	t.Helper()
	object, err := client.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: awssdk.String("data"), Key: &name})
	if err != nil {
		t.Fatal(err)
	}
	defer object.Body.Close()
	body, err := io.ReadAll(object.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// codeOf is the name AWS has for an error, empty for one that is not of AWS.
func codeOf(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// policy makes a document of statements that allow something.
func policy(statements ...map[string]any) string {
	for _, statement := range statements {
		statement["Effect"] = "Allow"
	}
	return string(marshal(map[string]any{"Version": "2012-10-17", "Statement": statements}))
}

func marshal(value any) []byte {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // no map of strings fails
	}
	return encoded
}

// TestServe puts a server beside the cloud's own.
func TestServe(t *testing.T) {
	cloud := aws.StartCloud(t, region)
	cloud.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host) }),
		"*.execute-api."+region+".amazonaws.com", "sqs."+region+".amazonaws.com")
	for _, host := range []string{"abc.execute-api." + region + ".amazonaws.com", "sqs." + region + ".amazonaws.com"} {
		response, err := http.Get("https://" + host + "/v1")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || string(body) != host {
			t.Errorf("%s answers %q, %v", host, body, err)
		}
	}
	if response, err := http.Get("https://other." + region + ".amazonaws.com/"); err == nil {
		_ = response.Body.Close()
		t.Error("a name that nobody serves leads somewhere")
	}
}
