package gcs_test

import (
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	standin "github.com/kube-iam-assume/kube-iam-assume/test/gcp"
)

func TestContract(t *testing.T) {
	server := standin.StartStorage(t)
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

// open makes a driver as a function's main does: credentials and endpoint are the environment's.
func open(t *testing.T, name string) *gcs.Bucket {
	t.Helper()
	client, err := gcs.NewClient(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := gcs.New(client, name)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
