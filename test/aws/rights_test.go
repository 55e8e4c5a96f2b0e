package aws_test

import (
	"errors"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

// TestRights takes some of the driver's rights away. Whatever is missing, an object is never said to be absent that is not
// known to be.
func TestRights(t *testing.T) {
	cloud := aws.StartCloud(t, region)
	cloud.CreateBucket(t, "private", true)
	put(t, cloud, "private", "there", []byte("one"))
	const denied = "denied: the role needs s3:GetObject and s3:PutObject on the object, and s3:ListBucket on the bucket"
	objects := map[string]any{"Action": []string{"s3:GetObject", "s3:PutObject"}, "Resource": "arn:aws:s3:::private/*"}
	listing := map[string]any{"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::private"}
	for name, c := range map[string]struct {
		statements []map[string]any
		absent     string // what reading what is not there says
		writes     bool
	}{
		"all it needs": {[]map[string]any{objects, listing}, bucket.ErrNotFound.Error(), true},
		"no writing": {
			[]map[string]any{{"Action": "s3:GetObject", "Resource": "arn:aws:s3:::private/*"}, listing}, bucket.ErrNotFound.Error(), false,
		},
		"other objects": {
			[]map[string]any{{"Action": []string{"s3:GetObject", "s3:PutObject"}, "Resource": "arn:aws:s3:::private/other/*"}, listing}, denied, false,
		},
	} {
		driver, err := s3.New(awss3.NewFromConfig(cloud.ConfigOf(user(t, cloud, strings.ReplaceAll(name, " ", "-"), c.statements))), "private")
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = driver.Get(t.Context(), "absent")
		if err == nil || !strings.Contains(err.Error(), c.absent) || errors.Is(err, bucket.ErrNotFound) != (c.absent == bucket.ErrNotFound.Error()) {
			t.Errorf("%s: Get of what is absent: %v, want %q", name, err, c.absent)
		}
		_, err = driver.Put(t.Context(), "new/"+strings.ReplaceAll(name, " ", "-"), bucket.Object{ContentType: "a/b"}, bucket.Absent)
		if (err == nil) != c.writes || err != nil && !strings.Contains(err.Error(), denied) {
			t.Errorf("%s: Put: %v, want that it may: %t", name, err, c.writes)
		}
	}
}

// user makes one with an access key and an inline policy.
func user(t *testing.T, cloud *aws.Cloud, name string, statements []map[string]any) awssdk.Credentials {
	t.Helper()
	client := iam.NewFromConfig(cloud.Config())
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
		t.Fatal(err)
	}
	_, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
		UserName: &name, PolicyName: awssdk.String("rights"), PolicyDocument: awssdk.String(policy(statements...)),
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return awssdk.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}
}
