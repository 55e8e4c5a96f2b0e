//go:build e2e_aws

package aws_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
)

const data = "workload-data" // the bucket that the role may partly read

// fill makes the bucket with an object that the role may read, and one that it may not.
func (c *cloud) fill() {
	c.Helper()
	c.CreateBucket(c.T, data, false)
	for _, key := range []string{"payments/a", "secrets/b"} {
		if _, err := c.s3.PutObject(c.Context(), &awss3.PutObjectInput{Bucket: aws.String(data), Key: &key, Body: bytes.NewReader([]byte(key))}); err != nil {
			c.Fatal(err)
		}
	}
}

// pod is the AWS SDK as it works in a pod with AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE: no other credential, the endpoints of AWS.
func (c *cloud) pod(roleARN, token string) *awss3.Client {
	c.Helper()
	file := filepath.Join(c.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		c.Fatal(err)
	}
	login := sts.NewFromConfig(c.ConfigOf(aws.Credentials{}))
	config := c.ConfigOf(aws.Credentials{})
	config.Credentials = aws.NewCredentialsCache(stscreds.NewWebIdentityRoleProvider(login, roleARN, stscreds.IdentityTokenFile(file)))
	return awss3.NewFromConfig(config)
}

// read reads an object as a pod.
func (c *cloud) read(pod *awss3.Client, key string) error {
	object, err := pod.GetObject(c.Context(), &awss3.GetObjectInput{Bucket: aws.String(data), Key: &key})
	if err != nil {
		return err
	}
	defer object.Body.Close()
	content, err := io.ReadAll(object.Body)
	if err == nil && string(content) != key {
		err = errors.New("the object is another: " + string(content))
	}
	return err
}

// accepted wants a token to be exchanged for credentials that read the one object and not the other.
func (c *cloud) accepted(roleARN, token string) {
	c.Helper()
	pod := c.pod(roleARN, token)
	if err := c.read(pod, "payments/a"); err != nil {
		c.Errorf("the object that the role allows: %v", err)
	}
	c.refusedWith(c.read(pod, "secrets/b"), "AccessDenied")
}

// refused wants a token to give no credentials.
func (c *cloud) refused(what, roleARN, token string) {
	c.Helper()
	err := c.read(c.pod(roleARN, token), "payments/a")
	if err == nil || !strings.Contains(err.Error(), "AssumeRoleWithWebIdentity") {
		c.Errorf("%s: %v; want STS to refuse the token", what, err)
		return
	}
	c.refusedWith(err, "InvalidIdentityToken")
}

func (c *cloud) refusedWith(err error, code string) {
	c.Helper()
	var answer smithy.APIError
	if !errors.As(err, &answer) || answer.ErrorCode() != code {
		c.Errorf("%v; want %s", err, code)
	}
}
