package azblob_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

// TestContract runs on containers of both kinds, as the function does: with its identity's token.
func TestContract(t *testing.T) {
	storage := azure.StartStorage(t)
	for _, variable := range storage.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	for name, public := range map[string]bool{"private": false, "public": true} {
		url := storage.CreateContainer(t, name, public)
		t.Run(name, func(t *testing.T) {
			buckettest.Run(t, func(t *testing.T) (a, b bucket.Bucket) {
				t.Helper()
				return open(t, url, storage.HTTPClient()), open(t, url, storage.HTTPClient())
			})
		})
	}
	t.Run("another's blob", func(t *testing.T) { anothersBlob(t, storage) })
}

// open makes a driver as a function's main does.
func open(t *testing.T, url string, transport *http.Client) *azblob.Bucket {
	t.Helper()
	return openAs(t, url, os.Getenv("AZURE_CLIENT_ID"), transport)
}

func openAs(t *testing.T, url, clientID string, transport *http.Client) *azblob.Bucket {
	t.Helper()
	identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(clientID)})
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClient(url, identity, &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := azblob.New(client)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
