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
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// Graph is the name of Microsoft Graph among a cloud's services, which package cloud does not have.
const Graph cloud.ServiceName = "microsoftGraph"

// Clouds by the names that --cloud takes.
var clouds = map[string]cloud.Configuration{
	"public":     with(cloud.AzurePublic, "https://graph.microsoft.com"),
	"government": with(cloud.AzureGovernment, "https://graph.microsoft.us"),
	"china":      with(cloud.AzureChina, "https://microsoftgraph.chinacloudapi.cn"),
}

// with adds Microsoft Graph, at its endpoint in each national cloud (learn.microsoft.com/graph/deployments).
func with(c cloud.Configuration, graph string) cloud.Configuration {
	services := map[cloud.ServiceName]cloud.ServiceConfiguration{Graph: {Endpoint: graph, Audience: graph}}
	for name, service := range c.Services {
		services[name] = service
	}
	return cloud.Configuration{ActiveDirectoryAuthorityHost: c.ActiveDirectoryAuthorityHost, Services: services}
}

// A Client is another way to Azure than the environment's, for tests.
type Client struct {
	Credential azcore.TokenCredential
	Options    azcore.ClientOptions
}

// caller speaks one of Azure's APIs.
type caller struct {
	endpoint string
	pipeline runtime.Pipeline
}

func login(client *Client, cloudName string) (*Client, error) {
	if client == nil {
		options := azcore.ClientOptions{Cloud: clouds[cloudName]}
		found, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options})
		if err != nil {
			return nil, fmt.Errorf("no login for Azure: %w: az login", err)
		}
		client = &Client{found, options}
	}
	own := *client
	// Entra takes one write at a time for an identity, and answers another with 409. 429 says in Retry-After how long to wait.
	own.Options.Retry.StatusCodes = []int{
		http.StatusRequestTimeout, http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
	}
	return &own, nil
}

// resourceManager is the way to Azure's resource manager.
func (c *Client) resourceManager() (caller, error) {
	pipeline, err := armruntime.NewPipeline("kube-iam-assume", "v1", c.Credential, runtime.PipelineOptions{}, &arm.ClientOptions{ClientOptions: c.Options, DisableRPRegistration: true})
	return caller{c.Options.Cloud.Services[cloud.ResourceManager].Endpoint, pipeline}, err
}

// graph is the way to Microsoft Graph.
func (c *Client) graph() caller {
	service := c.Options.Cloud.Services[Graph]
	return caller{service.Endpoint, runtime.NewPipeline("kube-iam-assume", "v1", runtime.PipelineOptions{
		PerRetry: []policy.Policy{runtime.NewBearerTokenPolicy(c.Credential, []string{service.Audience + "/.default"}, nil)},
	}, &c.Options)}
}

// call makes one request. The path has its query with it.
func (c caller) call(ctx context.Context, method, path string, body, into any, good ...int) error {
	return c.callURL(ctx, method, runtime.JoinPaths(c.endpoint, path), body, into, good...)
}

func (c caller) callURL(ctx context.Context, method, target string, body, into any, good ...int) error {
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
	response, err := c.pipeline.Do(request)
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

// maxPages is far more than 20 credentials need.
const maxPages = 50

// pages reads every page of a list. Only this endpoint's next pages are followed: the login goes along.
func pages[T any](ctx context.Context, c caller, path string, next func(T) string) ([]T, error) {
	var all []T
	target := runtime.JoinPaths(c.endpoint, path)
	for target != "" {
		if len(all) == maxPages {
			return nil, fmt.Errorf("the list has more than %d pages", maxPages)
		}
		var page T
		if err := c.callURL(ctx, http.MethodGet, target, nil, &page, http.StatusOK); err != nil {
			return nil, err
		}
		all = append(all, page)
		target = next(page)
		if u, err := url.Parse(target); target != "" && (err != nil || !strings.HasPrefix(target, strings.TrimSuffix(c.endpoint, "/")+"/") || u.User != nil) {
			return nil, fmt.Errorf("the list goes on at %q, which is not %s", target, c.endpoint)
		}
	}
	return all, nil
}
