package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// setup is what a function needs that can work.
type setup struct {
	publisher *publish.Publisher
	operators *operators
}

// open makes the publisher. It asks no network: identity and containers are first used by the first event.
func open(getenv func(string) string, logger *slog.Logger) (setup, error) {
	program, err := os.Executable()
	if err != nil {
		return setup{}, err
	}
	return openIn(filepath.Dir(program), getenv, logger)
}

func openIn(folder string, getenv func(string) string, logger *slog.Logger) (setup, error) {
	documentsURL, privateURL, err := function.Buckets(getenv)
	if err != nil {
		return setup{}, err
	}
	identity, err := identityOf(getenv)
	if err != nil {
		return setup{}, err
	}
	documents, err := openContainer(documentsURL, identity)
	if err != nil {
		return setup{}, fmt.Errorf("%s: %w", function.DocumentsVariable, err)
	}
	private, err := openContainer(privateURL, identity)
	if err != nil {
		return setup{}, fmt.Errorf("%s: %w", function.PrivateVariable, err)
	}
	settings, err := function.Settings(folder, logger)
	if err != nil {
		return setup{}, err
	}
	door, err := openDoor(getenv)
	if err != nil {
		return setup{}, err
	}
	publisher, err := publish.New(publish.Config{Settings: settings, Documents: documents, Private: private, Logger: logger})
	return setup{publisher, door}, err
}

// identityOf is the function app's own, and no other that may be found on a machine: DefaultAzureCredential would also take secrets from the
// environment, or a developer's login.
func identityOf(getenv func(string) string) (azcore.TokenCredential, error) {
	id := getenv("AZURE_CLIENT_ID")
	switch {
	case id == "":
		return nil, errors.New("AZURE_CLIENT_ID is not set: name the client ID of the function app's user-assigned identity")
	case getenv("IDENTITY_ENDPOINT") == "":
		return nil, errors.New("IDENTITY_ENDPOINT is not set, as it is where an identity is assigned: assign the one of AZURE_CLIENT_ID to the function app")
	}
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(id)})
}

// openContainer takes a container's URL as people read it, without anything that would be a credential, or make two names of one container.
func openContainer(address string, identity azcore.TokenCredential) (*azblob.Bucket, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Host != strings.ToLower(u.Host) || strings.HasSuffix(u.Path, "/") || strings.Contains(u.Path, "//") || u.Path != u.EscapedPath() {
		visible, _, _ := strings.Cut(address, "?") // what follows may be a secret
		return nil, fmt.Errorf("%.120q is no container's URL: want https://ACCOUNT.blob.core.windows.net/CONTAINER, and nothing after it", visible)
	}
	client, err := container.NewClient(address, identity, &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:     policy.RetryOptions{RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second},
		Telemetry: policy.TelemetryOptions{ApplicationID: "kube-iam-assume"},
	}})
	if err != nil {
		return nil, err
	}
	return azblob.New(client)
}
