package azure

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
)

// Container is a client with the shared key. It asks once, so that a test sees the first answer.
func (s *Storage) Container(t testing.TB, name string) *container.Client {
	t.Helper()
	key, err := container.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential(s.ContainerURL(name), key, &container.ClientOptions{ClientOptions: s.once()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// ContainerURL is where a container is, if it was made.
func (s *Storage) ContainerURL(name string) string { return s.BlobURL + "/" + name }

// CreateContainer makes a container and returns its URL. A public one gives its blobs to everybody, and its list to nobody.
func (s *Storage) CreateContainer(t testing.TB, name string, public bool) string {
	t.Helper()
	options := &container.CreateOptions{}
	if public {
		options.Access = to.Ptr(container.PublicAccessTypeBlob)
	}
	if _, err := s.Container(t, name).Create(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	return s.ContainerURL(name)
}

// Queue is a client with the shared key. It asks once.
func (s *Storage) Queue(t testing.TB, name string) *azqueue.QueueClient {
	t.Helper()
	key, err := azqueue.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := azqueue.NewQueueClientWithSharedKeyCredential(s.QueueURL+"/"+name, key, &azqueue.ClientOptions{ClientOptions: s.once()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// CreateQueue makes a queue and returns its URL.
func (s *Storage) CreateQueue(t testing.TB, name string) string {
	t.Helper()
	if _, err := s.Queue(t, name).Create(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return s.QueueURL + "/" + name
}

func (s *Storage) once() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: s.http, Retry: policy.RetryOptions{MaxRetries: -1}}
}
