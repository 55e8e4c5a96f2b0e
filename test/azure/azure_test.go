package azure_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

// TestStorage reaches the account as a function does, and holds what the tests of others rely on.
func TestStorage(t *testing.T) {
	storage := azure.StartStorage(t)
	for _, variable := range storage.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	public, private := storage.CreateContainer(t, "public", true), storage.CreateContainer(t, "private", false)
	queue := storage.CreateQueue(t, "snapshots")
	identity, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(storage.Identity.ClientID)})
	if err != nil {
		t.Fatal(err)
	}

	t.Run("containers", func(t *testing.T) {
		for url, want := range map[string]bool{public: true, private: false} {
			if err := upload(t, url, identity, storage.HTTPClient()); err != nil {
				t.Errorf("with the identity's token: %v", err)
			}
			if err := upload(t, url, said("not a token"), storage.HTTPClient()); !bloberror.HasCode(err, bloberror.AuthenticationFailed) {
				t.Errorf("with a token that is none: %v", err)
			}
			if got := get(t, storage, url+"/a"); (got == http.StatusOK) != want {
				t.Errorf("%s: a stranger is answered %d", url, got)
			}
			if got := get(t, storage, url+"?restype=container&comp=list"); got == http.StatusOK {
				t.Errorf("%s: a stranger gets the list", url)
			}
		}
	})
	t.Run("queues", func(t *testing.T) {
		client, err := azqueue.NewQueueClient(queue, identity, &azqueue.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: storage.HTTPClient()}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.EnqueueMessage(t.Context(), "a message", nil); err != nil {
			t.Fatal(err)
		}
		messages, err := storage.Queue(t, "snapshots").DequeueMessages(t.Context(), nil)
		if err != nil || len(messages.Messages) != 1 || *messages.Messages[0].MessageText != "a message" {
			t.Errorf("%v, %v", messages, err)
		}
	})
	t.Run("identity", func(t *testing.T) {
		other, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID("another")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}}); err == nil {
			t.Error("an identity that the machine does not have got a token")
		}
		if storage.Identity.Tokens() == 0 {
			t.Error("the identity was never asked for")
		}
	})
}

func upload(t *testing.T, url string, credential azcore.TokenCredential, client *http.Client) error {
	t.Helper()
	opened, err := container.NewClient(url, credential, &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: client, Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = opened.NewBlockBlobClient("a").Upload(t.Context(), streaming.NopCloser(strings.NewReader("{}")), nil)
	return err
}

func get(t *testing.T, storage *azure.Storage, url string) int {
	t.Helper()
	response, err := storage.HTTPClient().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// said is a credential that always says the same.
type said string

func (s said) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(s)}, nil
}
