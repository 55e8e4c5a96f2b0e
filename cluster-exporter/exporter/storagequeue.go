package exporter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// DefaultStorageQueueTokenFile is where the chart mounts the token for Azure: the exporter's own, projected with the audience of the
// federated credential.
const DefaultStorageQueueTokenFile = "/var/run/secrets/kube-iam-assume/storage-queue/token"

// StorageQueue is a publisher's queue in an Azure storage account. The exporter logs in by a federated credential of an application or a
// managed identity. A queue says nothing of what comes of a snapshot: that is in the publisher's log alone.
type StorageQueue struct {
	URL       string `json:"url"                 yaml:"url"`
	TenantID  string `json:"tenantID"            yaml:"tenantID"`
	ClientID  string `json:"clientID"            yaml:"clientID"`
	TokenFile string `json:"tokenFile,omitempty" yaml:"tokenFile"` // read for every login: the kubelet renews it
}

var (
	storageHost  = regexp.MustCompile(`^[a-z0-9]{3,24}\.(?:queue\.core\.(windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)|z[0-9]{1,2}\.queue\.storage\.azure\.net)$`)
	storageQueue = regexp.MustCompile(`^/[a-z0-9](?:-?[a-z0-9]){2,62}$`)
	entraID      = regexp.MustCompile(`^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// An azure is one of the clouds of that name. They have nothing in common but their form.
type azure struct {
	cloud.Configuration

	audience string // of federated credentials
}

var azures = map[string]azure{
	"":                  {cloud.AzurePublic, "api://AzureADTokenExchange"}, // the newer kind of endpoint, with a DNS zone
	"windows.net":       {cloud.AzurePublic, "api://AzureADTokenExchange"},
	"usgovcloudapi.net": {cloud.AzureGovernment, "api://AzureADTokenExchangeUSGov"},
	"chinacloudapi.cn":  {cloud.AzureChina, "api://AzureADTokenExchangeChina"},
}

// where is the cloud that the URL is of.
func (q StorageQueue) where() (azure, error) {
	u, err := url.Parse(q.URL)
	if err == nil && u.Scheme == "https" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && storageQueue.MatchString(u.Path) && len(u.Path) <= 64 {
		if m := storageHost.FindStringSubmatch(u.Host); m != nil {
			return azures[m[1]], nil
		}
	}
	return azure{}, errors.New("want the queue's https URL without a signature, such as https://ACCOUNT.queue.core.windows.net/QUEUE; the stack's output has it")
}

func (q StorageQueue) check(d *settings.Document, at []any, publisher string) error {
	if _, err := q.where(); err != nil {
		return d.Errorf(append(at, "url"), "queue of %q: %w", publisher, err)
	}
	if !entraID.MatchString(q.TenantID) {
		return d.Errorf(append(at, "tenantID"), "tenantID %q: want the tenant's ID in lower case, 00000000-0000-0000-0000-000000000000; the stack's output has it", q.TenantID)
	}
	if !entraID.MatchString(q.ClientID) {
		return d.Errorf(append(at, "clientID"), "clientID %q: want the client ID (not the object ID) of the identity that may send, in lower case; the stack's output has it", q.ClientID)
	}
	return nil
}

// azureQueue is a queue of Azure Storage.
type azureQueue struct {
	audience string
	http     *http.Client
	client   *azqueue.QueueClient
}

func (q StorageQueue) open(settings Settings) (queue, error) {
	where, err := q.where()
	if err != nil {
		return nil, err
	}
	client, err := newClient(settings, settings.CABundle)
	if err != nil {
		return nil, err
	}
	options := azcore.ClientOptions{
		Cloud: where.Configuration, Transport: client, Telemetry: policy.TelemetryOptions{Disabled: true},
		Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Second}, // the webhook waits; and the worker tries again
	}
	file := tokenFile(cmp.Or(q.TokenFile, DefaultStorageQueueTokenFile))
	login, err := azidentity.NewClientAssertionCredential(q.TenantID, q.ClientID,
		func(context.Context) (string, error) { return file.read() },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
	if err != nil {
		return nil, fmt.Errorf("the login to Azure: %w", err)
	}
	queue, err := azqueue.NewQueueClient(q.URL, entraLogin{login, file}, &azqueue.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, fmt.Errorf("the queue's client: %w", err)
	}
	return &azureQueue{audience: where.audience, http: client, client: queue}, nil
}

// entraLogin is the login. That there is no token is seen before the library hides it.
type entraLogin struct {
	*azidentity.ClientAssertionCredential

	file tokenFile
}

// GetToken implements azcore.TokenCredential.
func (e entraLogin) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if _, err := e.file.read(); err != nil {
		return azcore.AccessToken{}, err
	}
	return e.ClientAssertionCredential.GetToken(ctx, options)
}

func (q *azureQueue) close() { q.http.CloseIdleConnections() }

// put leaves the envelope in base64, which the Functions host expects unless told otherwise. The message goes when the snapshot is not to be
// believed any more: a publisher that was down would refuse it, and all others that waited, one by one.
func (q *azureQueue) put(ctx context.Context, envelope []byte) error {
	lifetime := int32(snapshot.Lifetime / time.Second)
	answer, err := q.client.EnqueueMessage(ctx, base64.StdEncoding.EncodeToString(envelope), &azqueue.EnqueueMessageOptions{TimeToLive: &lifetime})
	if err == nil && len(answer.Messages) != 1 {
		err = errors.New("what answers is something else") // a captive portal
	}
	return q.explain(err)
}

func (q *azureQueue) explain(err error) error {
	var missing tokenError
	var login *azidentity.AuthenticationFailedError
	var api *azcore.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return noToken("Azure", q.audience, missing.error)
	case errors.As(err, &login) && login.RawResponse != nil:
		refused := readEntraError(login.RawResponse)
		return refused.with(cmp.Or(entraRemedies[refused.code], "see the identity and its federated credential"))
	case errors.As(err, &login):
		return unanswered(entraService, err)
	case errors.As(err, &api) && api.ErrorCode == "":
		return unanswered(storageService, fmt.Errorf("HTTP %d, of something else", api.StatusCode))
	case errors.As(err, &api):
		return refusal{storageService, api.ErrorCode, storageMessage(api.RawResponse)}.with(cmp.Or(storageRemedies[api.ErrorCode], "see the storage account and the queue"))
	}
	return unanswered(storageService, err)
}

var aadsts = regexp.MustCompile(`^(AADSTS[0-9]+): *(?s:(.*?))(?:Trace ID:|$)`)

// readEntraError finds Entra's own code, which says more than OAuth's.
func readEntraError(response *http.Response) refusal {
	refused := refusal{entraService, response.Status, ""}
	body, err := runtime.Payload(response)
	if err != nil {
		return refused
	}
	return refused.entra(body)
}

func (r refusal) entra(body []byte) refusal {
	r = r.oauth(body)
	if m := aadsts.FindStringSubmatch(r.message); m != nil {
		r.code, r.message = m[1], m[2]
	}
	return r
}

// storageMessage is the first line of what Azure Storage says; the others are identifiers.
func storageMessage(response *http.Response) string {
	body, err := runtime.Payload(response)
	if err != nil {
		return ""
	}
	return firstLine(body)
}

func firstLine(body []byte) string {
	var said struct {
		Message string `xml:"Message"`
	}
	if xml.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &said) != nil {
		return ""
	}
	first, _, _ := strings.Cut(said.Message, "\n")
	return first
}
