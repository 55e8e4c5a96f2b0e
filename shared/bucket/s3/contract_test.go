package s3_test

import (
	"context"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

func TestContract(t *testing.T) {
	server := standin.StartS3(t)
	for _, variable := range server.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	server.CreateBucket(t, "contract", false)
	server.CreateBucket(t, "versioned", true)
	for _, name := range []string{"contract", "versioned"} {
		t.Run(name, func(t *testing.T) {
			buckettest.Run(t, func(t *testing.T) (a, b bucket.Bucket) {
				t.Helper()
				return open(t, name), open(t, name)
			})
		})
	}
}

// open makes a driver as a function's main does: region, credentials and endpoint are the environment's.
func open(t *testing.T, name string) *s3.Bucket {
	t.Helper()
	settings, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := s3.New(awss3.NewFromConfig(settings, asFiles), name)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// asFiles ends every name in a character that no name has. The server keeps objects as files, so that it could not have both
// "a" and "a/b", which S3 can.
func asFiles(options *awss3.Options) {
	options.APIOptions = append(options.APIOptions, func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("AsFiles",
			func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
				middleware.InitializeOutput, middleware.Metadata, error,
			) {
				switch call := in.Parameters.(type) {
				case *awss3.GetObjectInput:
					call.Key = aws.String(*call.Key + "@")
				case *awss3.PutObjectInput:
					call.Key = aws.String(*call.Key + "@")
				}
				return next.HandleInitialize(ctx, in)
			}), middleware.Before)
	})
}
