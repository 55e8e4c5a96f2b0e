package azblob_test

import (
	"context"
	"os"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

const containerVariable = "KUBE_IAM_ASSUME_AZBLOB_TEST_CONTAINER" // its URL

func TestMain(m *testing.M) {
	os.Exit(buckettest.Main(m, func(context.Context) (bucket.Bucket, error) {
		identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(os.Getenv("AZURE_CLIENT_ID"))})
		if err != nil {
			return nil, err
		}
		client, err := container.NewClient(os.Getenv(containerVariable), identity, nil)
		if err != nil {
			return nil, err
		}
		return azblob.New(client)
	}))
}

func TestProcesses(t *testing.T) {
	t.Parallel()
	storage := azure.StartStorage(t)
	url := storage.CreateContainer(t, "raced", false)
	observer, err := azblob.New(storage.Container(t, "raced"))
	if err != nil {
		t.Fatal(err)
	}
	buckettest.Processes(t, observer, append(storage.Environment(), containerVariable+"="+url)...)
}
