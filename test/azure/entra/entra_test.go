package entra_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2/queueerror"

	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/entra"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

const (
	issuer  = "https://oidc.example.com/prod"
	subject = "system:serviceaccount:kube-iam-assume:cluster-exporter"
	tenant  = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	client  = "11111111-2222-3333-4444-555555555555"
	object  = "99999999-2222-3333-4444-555555555555"
)

// cloud is a tenant, an issuer whose documents hold a key, and an API server that signs with it.
type cloud struct {
	*testing.T
	*entra.Tenant
	network *internet.Internet
	cluster *standin.Cluster
	key     *standin.Key
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	key, err := standin.NewRSAKey()
	if err != nil {
		t.Fatal(err)
	}
	network := internet.New(t)
	c := &cloud{T: t, Tenant: entra.Start(t, network, tenant), network: network, cluster: network.Cluster(issuer, key), key: key}
	c.Identify(client, entra.Identity{ObjectID: object, Credentials: []entra.Federated{{issuer, subject, entra.Audience}}})
	return c
}

func (c *cloud) token(audiences ...string) string {
	c.Helper()
	token, err := c.cluster.Servers[0].PodToken("kube-iam-assume", "cluster-exporter", "exporter-0", audiences, 600)
	if err != nil {
		c.Fatal(err)
	}
	return token
}

// credential is Microsoft's own client.
func (c *cloud) credential(tenant, client, assertion string) azcore.TokenCredential {
	c.Helper()
	credential, err := azidentity.NewClientAssertionCredential(tenant, client, func(context.Context) (string, error) { return assertion, nil },
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: c.options(), DisableInstanceDiscovery: true})
	if err != nil {
		c.Fatal(err)
	}
	return credential
}

func (c *cloud) options() azcore.ClientOptions {
	return azcore.ClientOptions{Transport: c.network.Client(), Retry: policy.RetryOptions{MaxRetries: -1}}
}

// Issuer, subject and audience are compared byte for byte, and the signature is verified against the published documents.
func TestAssertions(t *testing.T) {
	t.Parallel()
	right := entra.Federated{Issuer: issuer, Subject: subject, Audience: entra.Audience}
	for name, test := range map[string]struct {
		tenant, client string
		has            entra.Federated
		audiences      []string
		want           string
	}{
		"right":            {tenant, client, right, []string{entra.Audience}, ""},
		"another issuer":   {tenant, client, entra.Federated{issuer + "/", subject, entra.Audience}, []string{entra.Audience}, "AADSTS700211"},
		"another audience": {tenant, client, right, []string{"sts.amazonaws.com"}, "AADSTS700212"},
		"two audiences":    {tenant, client, right, []string{entra.Audience, "sts.amazonaws.com"}, "AADSTS700212"},
		"another subject":  {tenant, client, entra.Federated{issuer, strings.ToUpper(subject), entra.Audience}, []string{entra.Audience}, "AADSTS700213"},
		"another client":   {tenant, object, right, []string{entra.Audience}, "AADSTS700016"},
		"another tenant":   {object, client, right, []string{entra.Audience}, "AADSTS90002"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			c.Identify(client, entra.Identity{ObjectID: object, Credentials: []entra.Federated{test.has}})
			c.expect(c.credential(test.tenant, test.client, c.token(test.audiences...)), test.want)
		})
	}
	t.Run("a key that is not published", func(t *testing.T) {
		t.Parallel()
		c, other := newCloud(t), newCloud(t)
		c.expect(c.credential(tenant, client, other.token(entra.Audience)), "AADSTS7000272")
	})
	t.Run("no documents", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t)
		c.network.Lead("oidc.example.com", "127.0.0.1:1")
		c.expect(c.credential(tenant, client, c.token(entra.Audience)), "AADSTS90061")
	})
	t.Run("no token", func(t *testing.T) {
		t.Parallel()
		c := newCloud(t)
		c.expect(c.credential(tenant, client, "eyJ"), "AADSTS50027")
	})
}

func (c *cloud) expect(credential azcore.TokenCredential, want string) {
	c.Helper()
	_, err := credential.GetToken(c.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
	if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want+":") && !strings.Contains(err.Error(), want+`"`) {
		c.Errorf("got %v, want %q", err, want)
	}
}

// TestQueue goes through the gate to Azurite, with Microsoft's own clients.
func TestQueue(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	storage := azure.StartStorage(t)
	storage.CreateQueue(t, "snapshots")
	gate := c.Guard(t, "account", storage.QueueURL, storage.HTTPClient())
	queue, err := azqueue.NewQueueClient("https://account.queue.core.windows.net/snapshots", c.credential(tenant, client, c.token(entra.Audience)),
		&azqueue.ClientOptions{ClientOptions: c.options()})
	if err != nil {
		t.Fatal(err)
	}
	put := func() error {
		_, err := queue.EnqueueMessage(t.Context(), base64.StdEncoding.EncodeToString([]byte("snapshot")), nil)
		return err
	}
	if err := put(); !queueerror.HasCode(err, queueerror.AuthorizationPermissionMismatch) {
		t.Errorf("without a role: %v", err)
	}
	gate.Assign(entra.Assignment{ObjectID: object, Role: entra.Sender, Queue: "snapshots"})
	if err := put(); err != nil {
		t.Errorf("with the role: %v", err)
	}
	if _, err := queue.DequeueMessage(t.Context(), nil); !queueerror.HasCode(err, queueerror.AuthorizationPermissionMismatch) {
		t.Errorf("a sender who takes: %v", err)
	}
	gate.Close(true)
	if err := put(); !queueerror.HasCode(err, queueerror.AuthorizationFailure) {
		t.Errorf("behind the firewall: %v", err)
	}
	gate.Close(false)
	got, err := storage.Queue(t, "snapshots").DequeueMessage(t.Context(), nil)
	if err != nil || len(got.Messages) != 1 || *got.Messages[0].MessageText != "c25hcHNob3Q=" {
		t.Errorf("in the queue: %+v, %v", got.Messages, err)
	}
	forged, err := azqueue.NewQueueClient("https://account.queue.core.windows.net/snapshots", fixed(forge(t)), &azqueue.ClientOptions{ClientOptions: c.options()})
	if err != nil {
		t.Fatal(err)
	}
	var refused *azcore.ResponseError
	if _, err := forged.EnqueueMessage(t.Context(), "eA==", nil); !errors.As(err, &refused) || refused.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a token of another tenant's key: %v", err)
	}
}

// forge is an access token that says the right things, by another key.
func forge(t *testing.T) string {
	t.Helper()
	other := newCloud(t)
	token, err := other.credential(tenant, client, other.token(entra.Audience)).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	return token.Token
}

type fixed string

func (f fixed) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: string(f)}, nil
}
