package azure

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// apiVersion is of Microsoft.ManagedIdentity.
const apiVersion = "2024-11-30"

// Clouds by the names that --cloud takes.
var clouds = map[string]cloud.Configuration{"public": cloud.AzurePublic, "government": cloud.AzureGovernment, "china": cloud.AzureChina}

// A Client is another way to Azure than the environment's, for tests.
type Client struct {
	Credential azcore.TokenCredential
	Options    azcore.ClientOptions
}

// manager speaks the resource manager's API for one identity.
type manager struct {
	endpoint, identity string
	pipeline           runtime.Pipeline
}

func connect(client *Client, cloudName, identity string) (*manager, error) {
	if client == nil {
		client = &Client{Options: azcore.ClientOptions{Cloud: clouds[cloudName]}}
		login, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: client.Options})
		if err != nil {
			return nil, fmt.Errorf("no login for Azure: %w: az login", err)
		}
		client.Credential = login
	}
	options := client.Options
	// Entra takes one write at a time for an identity, and answers another with 409.
	options.Retry.StatusCodes = []int{
		http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}
	pipeline, err := armruntime.NewPipeline("kube-iam-assume", "v1", client.Credential, runtime.PipelineOptions{}, &arm.ClientOptions{ClientOptions: options, DisableRPRegistration: true})
	if err != nil {
		return nil, err
	}
	return &manager{endpoint: options.Cloud.Services[cloud.ResourceManager].Endpoint, identity: identity, pipeline: pipeline}, nil
}

// credential is a federated credential as the resource manager has it.
type credential struct {
	Name       string     `json:"name,omitempty"`
	Properties properties `json:"properties"`
}

type properties struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

func (m *manager) call(ctx context.Context, method, target string, body, into any, good ...int) error {
	request, err := runtime.NewRequest(ctx, method, target)
	if err != nil {
		return err
	}
	request.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		if err := runtime.MarshalAsJSON(request, body); err != nil {
			return err
		}
	}
	response, err := m.pipeline.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if !runtime.HasStatusCode(response, good...) {
		return runtime.NewResponseError(response)
	}
	if into == nil {
		return nil
	}
	return runtime.UnmarshalAsJSON(response, into)
}

func (m *manager) url(name string) string {
	path := m.identity
	if name != "" {
		path += "/federatedIdentityCredentials/" + name
	}
	return runtime.JoinPaths(m.endpoint, path) + "?api-version=" + apiVersion
}

// get sees whether the identity is there.
func (m *manager) get(ctx context.Context) error {
	return m.call(ctx, http.MethodGet, m.url(""), nil, nil, http.StatusOK)
}

// list reads every page. Only this endpoint's next pages are followed: the login goes along.
func (m *manager) list(ctx context.Context) ([]credential, error) {
	var all []credential
	next := runtime.JoinPaths(m.endpoint, m.identity+"/federatedIdentityCredentials") + "?api-version=" + apiVersion
	for next != "" {
		var page struct {
			Value    []credential `json:"value"`
			NextLink string       `json:"nextLink"`
		}
		if err := m.call(ctx, http.MethodGet, next, nil, &page, http.StatusOK); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		next = page.NextLink
		if u, err := url.Parse(next); next != "" && (err != nil || !strings.HasPrefix(next, strings.TrimSuffix(m.endpoint, "/")+"/") || u.User != nil) {
			return nil, fmt.Errorf("the list goes on at %q, which is not Azure's resource manager", next)
		}
	}
	return all, nil
}

func (m *manager) put(ctx context.Context, name string, c trust.AzureCredential) error {
	return m.call(ctx, http.MethodPut, m.url(name), credential{Properties: properties{c.Issuer, c.Subject, c.Audiences}}, nil, http.StatusOK, http.StatusCreated)
}

func (m *manager) delete(ctx context.Context, name string) error {
	return m.call(ctx, http.MethodDelete, m.url(name), nil, nil, http.StatusOK, http.StatusNoContent)
}
