package s3_test

import (
	"context"
	"os"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

const racedBucket = "raced"

func TestMain(m *testing.M) {
	os.Exit(buckettest.Main(m, func(ctx context.Context) (bucket.Bucket, error) {
		settings, err := config.LoadDefaultConfig(ctx)
		if err != nil {
			return nil, err
		}
		return s3.New(awss3.NewFromConfig(settings), racedBucket)
	}))
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	server := standin.StartS3(t)
	server.CreateBucket(t, racedBucket, true)
	observer, err := s3.New(server.Client(), racedBucket)
	if err != nil {
		t.Fatal(err)
	}
	buckettest.Processes(t, observer, server.Environment()...)
}
