package gcs_test

import (
	"context"
	"os"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/gcp"
)

const racedBucket = "raced"

func TestMain(m *testing.M) {
	os.Exit(buckettest.Main(m, func(ctx context.Context) (bucket.Bucket, error) {
		client, err := gcs.NewClient(ctx)
		if err != nil {
			return nil, err
		}
		return gcs.New(client, racedBucket)
	}))
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	server := standin.StartStorage(t)
	server.CreateBucket(t, racedBucket, true)
	observer, err := gcs.New(server.Client, racedBucket)
	if err != nil {
		t.Fatal(err)
	}
	buckettest.Processes(t, observer, server.Environment()...)
}
