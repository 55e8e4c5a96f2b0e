package exporter

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/entra"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/pubsub"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

const (
	testIssuer   = "https://oidc.example.com/prod"
	testSubject  = "system:serviceaccount:kube-iam-assume:cluster-exporter"
	testProvider = "projects/1234/locations/global/workloadIdentityPools/clusters/providers/prod-eu1"
	testTopic    = "projects/my-project/topics/snapshots"
	testSender   = "sender@my-project.iam.gserviceaccount.com"
	testTenant   = "72f988bf-86f1-41af-91ab-2d7cd011db47"
	testClient   = "11111111-2222-3333-4444-555555555555"
	testObject   = "99999999-2222-3333-4444-555555555555"
)

// outside is a cluster whose documents are published, and the exporter's token of it.
type outside struct {
	*testing.T
	network *internet.Internet
	cluster *standin.Cluster
	token   string // file
	folder  string
}

func newOutside(t *testing.T, audience string) *outside {
	t.Helper()
	key, err := standin.NewRSAKey()
	if err != nil {
		t.Fatal(err)
	}
	network := internet.New(t)
	o := &outside{T: t, network: network, cluster: network.Cluster(testIssuer, key), folder: t.TempDir()}
	o.token = o.tokenFor(audience)
	return o
}

// tokenFor is a file with a token for an audience.
func (o *outside) tokenFor(audience string) string {
	o.Helper()
	token, err := o.cluster.Servers[0].PodToken("kube-iam-assume", "cluster-exporter", "exporter-0", []string{audience}, 600)
	if err != nil {
		o.Fatal(err)
	}
	return o.write("token", token)
}

func (o *outside) write(name, content string) string {
	o.Helper()
	path := filepath.Join(o.folder, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		o.Fatal(err)
	}
	return path
}

// open makes the destination's sender.
func (o *outside) open(destination Destination) sender {
	o.Helper()
	s, err := newSender(Settings{Cluster: "prod", Proxy: o.network.Proxy, CABundle: o.network.Bundle}, destination)
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(s.close)
	return s
}

// expect sends once, and wants these words; none are success.
func (o *outside) expect(s sender, want ...string) {
	o.Helper()
	a, err := s.send(o.Context(), []byte("snapshot"))
	if (err == nil) != (len(want) == 0) || a.Queued != (err == nil) {
		o.Errorf("%+v, %v, want %q", a, err, want)
	}
	for _, words := range want {
		if !strings.Contains(fmt.Sprint(err), words) {
			o.Errorf("got %v, want %q", err, words)
		}
	}
	if text := fmt.Sprint(err); strings.Contains(text, "eyJ") || strings.Contains(text, "ya29") || strings.Contains(text, "\n") || len(text) > 1000 {
		o.Errorf("not to be told: %s", text)
	}
}

type googleCase struct {
	*outside
	*pubsub.Google
	settings PubSub
}

func newGoogleCase(t *testing.T) *googleCase {
	t.Helper()
	c := &googleCase{outside: newOutside(t, "https://iam.googleapis.com/"+testProvider)}
	c.Google = pubsub.Start(t, c.network)
	c.Provide(testProvider, c.provider())
	c.Topic(testTopic, pubsub.Principal(testProvider, testSubject))
	c.settings = PubSub{Topic: testTopic, Provider: testProvider, TokenFile: c.token}
	return c
}

func (c *googleCase) provider() pubsub.Provider {
	return pubsub.Provider{Issuer: testIssuer, Documents: c.network.Client()}
}

// Each refusal says who refused, why, and what would help; none repeats a token.
func TestPubSubRefusals(t *testing.T) {
	t.Parallel()
	portal := pubsub.Answer{Status: http.StatusOK, Body: "<html>Please log in to the network"}
	for name, test := range map[string]struct {
		arrange func(c *googleCase)
		want    []string
	}{
		"sent":             {func(*googleCase) {}, nil},
		"no token":         {func(c *googleCase) { c.settings.TokenFile = "/none" }, []string{"no token to log in to Google", "/none", "https://iam.googleapis.com/" + testProvider, "mounted there?"}},
		"empty token":      {func(c *googleCase) { c.settings.TokenFile = c.write("empty", "\n") }, []string{"no token to log in to Google", "is empty"}},
		"another audience": {func(c *googleCase) { c.settings.TokenFile = c.tokenFor("sts.amazonaws.com") }, []string{"Google's STS refused: invalid_grant: The audience in ID Token", "an audience of the provider"}},
		"not a token":      {func(c *googleCase) { c.settings.TokenFile = c.write("odd", secretToken) }, []string{"Google's STS refused: invalid_grant", "is its key published"}},
		"another key": {func(c *googleCase) {
			c.settings.TokenFile = newOutside(c.T, "https://iam.googleapis.com/"+testProvider).token
		}, []string{"Google's STS refused: invalid_grant: Invalid token signature", "is its key published"}},
		"condition": {func(c *googleCase) {
			p := c.provider()
			p.Condition = func(map[string]any) bool { return false }
			c.Provide(testProvider, p)
		}, []string{"unauthorized_client", "attribute condition or mapping"}},
		"disabled":        {func(c *googleCase) { p := c.provider(); p.Disabled = true; c.Provide(testProvider, p) }, []string{"invalid_target", "not that of the stack's output"}},
		"no documents":    {func(c *googleCase) { c.network.Lead("oidc.example.com", "127.0.0.1:1") }, []string{"invalid_grant: Error connecting to the given credential's issuer"}},
		"no such account": {func(c *googleCase) { c.settings.ServiceAccount = testSender }, []string{"IAM Credentials refused: NOT_FOUND", "there is no such service account"}},
		"somebody's":      {func(c *googleCase) { c.Account(testSender); c.settings.ServiceAccount = testSender }, []string{"IAM Credentials refused: PERMISSION_DENIED", "roles/iam.workloadIdentityUser"}},
		"account may not": {func(c *googleCase) {
			c.Account(testSender, pubsub.Principal(testProvider, testSubject))
			c.settings.ServiceAccount = testSender
		}, []string{"Pub/Sub refused: PERMISSION_DENIED", "roles/pubsub.publisher"}},
		"no such topic":   {func(c *googleCase) { c.settings.Topic += "-2" }, []string{"Pub/Sub refused: NOT_FOUND", "is it that of the stack's output?"}},
		"STS is down":     {func(c *googleCase) { c.Break("sts.googleapis.com", pubsub.Answer{Status: 503, Body: "try\nlater"}) }, []string{"Google's STS refused: 503", "try later"}},
		"Pub/Sub is down": {func(c *googleCase) { c.Break("pubsub.googleapis.com", pubsub.Answer{Status: 503}) }, []string{"Pub/Sub refused: 503"}},
		"portal at login": {func(c *googleCase) { c.Break("sts.googleapis.com", portal) }, []string{"no answer of Google's STS", "something else"}},
		"portal at account": {func(c *googleCase) {
			c.settings.ServiceAccount = testSender
			c.Break("iamcredentials.googleapis.com", portal)
		}, []string{"no answer of IAM Credentials", "something else"}},
		"portal at topic": {func(c *googleCase) { c.Break("pubsub.googleapis.com", portal) }, []string{"no answer of Pub/Sub", "something else"}},
		"endless": {func(c *googleCase) {
			c.Break("sts.googleapis.com", pubsub.Answer{Status: 200, Body: strings.Repeat(" ", 1<<20)})
		}, []string{"no answer of Google's STS"}},
		"nobody":          {func(c *googleCase) { c.network.Lead("sts.googleapis.com", "127.0.0.1:1") }, []string{"no answer of Google's STS", "may the exporter reach it"}},
		"nobody at topic": {func(c *googleCase) { c.network.Lead("pubsub.googleapis.com", "127.0.0.1:1") }, []string{"no answer of Pub/Sub", "may the exporter reach it"}},
		"moved":           {func(c *googleCase) { c.redirect("sts.googleapis.com") }, []string{"Google's STS refused: 307"}},
		"account moved": {func(c *googleCase) {
			c.settings.ServiceAccount = testSender
			c.redirect("iamcredentials.googleapis.com")
		}, []string{"IAM Credentials refused: 307"}},
		"topic moved": {func(c *googleCase) { c.redirect("pubsub.googleapis.com") }, []string{"Pub/Sub refused: 307"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newGoogleCase(t)
			test.arrange(c)
			c.expect(c.open(Destination{PubSub: &c.settings}), test.want...)
		})
	}
}

// redirect makes a service send everybody to somewhere else, where nobody may come.
func (o *outside) redirect(name string) {
	o.network.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { o.Error("what is secret was sent elsewhere") }), "elsewhere.example.com")
	o.network.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.example.com/", http.StatusTemporaryRedirect)
	}), name)
}

// TestPubSubLogin: a login lasts, and one that Google ended is made again at once.
func TestPubSubLogin(t *testing.T) {
	t.Parallel()
	c := newGoogleCase(t)
	s := c.open(Destination{PubSub: &c.settings})
	c.expect(s)
	c.expect(s)
	if n := c.Logins(); n != 1 {
		t.Errorf("%d logins", n)
	}
	c.Forget()
	c.expect(s)
	if n := c.Logins(); n != 2 {
		t.Errorf("%d logins after Google forgot the first", n)
	}
}

type azureCase struct {
	*outside
	*entra.Tenant
	gate     *entra.Gate
	settings StorageQueue
	answer   func(w http.ResponseWriter) // of the queue service
}

// newAzureCase has a queue service that takes everything, in the form of Azure Storage; Azurite's own answers are in TestQueuesOfOtherClouds.
func newAzureCase(t *testing.T) *azureCase {
	t.Helper()
	c := &azureCase{outside: newOutside(t, entra.Audience)}
	c.Tenant = entra.Start(t, c.network, testTenant)
	c.identify(entra.Federated{Issuer: testIssuer, Subject: testSubject, Audience: entra.Audience})
	c.answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="utf-8"?><QueueMessagesList><QueueMessage><MessageId>1</MessageId><PopReceipt>p</PopReceipt></QueueMessage></QueueMessagesList>`)
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { c.answer(w) }))
	t.Cleanup(service.Close)
	c.gate = c.Guard(t, "account", service.URL, service.Client())
	c.gate.Assign(entra.Assignment{ObjectID: testObject, Role: entra.Sender, Queue: "snapshots"})
	c.settings = StorageQueue{URL: "https://account.queue.core.windows.net/snapshots", TenantID: testTenant, ClientID: testClient, TokenFile: c.token}
	return c
}

func (c *azureCase) identify(federated entra.Federated) {
	c.Identify(testClient, entra.Identity{ObjectID: testObject, Credentials: []entra.Federated{federated}})
}

func (c *azureCase) says(status int, contentType, body string) {
	c.answer = func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// The same for Azure.
func TestStorageQueueRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		arrange func(c *azureCase)
		want    []string
	}{
		"sent":             {func(*azureCase) {}, nil},
		"no token":         {func(c *azureCase) { c.settings.TokenFile = "/none" }, []string{"no token to log in to Azure", "/none", entra.Audience, "mounted there?"}},
		"empty token":      {func(c *azureCase) { c.settings.TokenFile = c.write("empty", "\n") }, []string{"no token to log in to Azure", "is empty"}},
		"not a token":      {func(c *azureCase) { c.settings.TokenFile = c.write("odd", secretToken) }, []string{"Entra refused: AADSTS50027"}},
		"another audience": {func(c *azureCase) { c.settings.TokenFile = c.tokenFor("sts.amazonaws.com") }, []string{"Entra refused: AADSTS700212", "byte for byte"}},
		"another issuer": {func(c *azureCase) {
			c.identify(entra.Federated{Issuer: testIssuer + "/", Subject: testSubject, Audience: entra.Audience})
		}, []string{"Entra refused: AADSTS700211", "byte for byte"}},
		"another subject": {func(c *azureCase) {
			c.identify(entra.Federated{Issuer: testIssuer, Subject: "me", Audience: entra.Audience})
		}, []string{"Entra refused: AADSTS700213", "'" + testSubject + "'"}},
		"another key":     {func(c *azureCase) { c.settings.TokenFile = newOutside(c.T, entra.Audience).token }, []string{"Entra refused: AADSTS7000272", "is it published"}},
		"no documents":    {func(c *azureCase) { c.network.Lead("oidc.example.com", "127.0.0.1:1") }, []string{"Entra refused: AADSTS90061", "look at the issuer's URL"}},
		"another client":  {func(c *azureCase) { c.settings.ClientID = testObject }, []string{"Entra refused: AADSTS700016", "clientID and tenantID"}},
		"another tenant":  {func(c *azureCase) { c.settings.TenantID = testObject }, []string{"Entra refused: AADSTS90002", "tenantID"}},
		"Entra is down":   {func(c *azureCase) { c.Break(true) }, []string{"Entra refused: 503"}},
		"portal at login": {func(c *azureCase) { c.portal("login.microsoftonline.com") }, []string{"no answer of Entra"}},
		"nobody":          {func(c *azureCase) { c.network.Lead("login.microsoftonline.com", "127.0.0.1:1") }, []string{"no answer of Entra", "may the exporter reach it"}},
		"moved":           {func(c *azureCase) { c.redirect("login.microsoftonline.com") }, []string{"Entra refused: 307"}},
		"no role":         {func(c *azureCase) { c.gate.Assign() }, []string{"the storage account refused: AuthorizationPermissionMismatch", "Storage Queue Data Message Sender"}},
		"firewall":        {func(c *azureCase) { c.gate.Close(true) }, []string{"the storage account refused: AuthorizationFailure", "firewall"}},
		"no queue": {func(c *azureCase) {
			c.says(404, "application/xml", `<?xml version="1.0"?><Error><Code>QueueNotFound</Code><Message>The specified queue does not exist.`+"\nRequestId:1</Message></Error>")
		}, []string{"the storage account refused: QueueNotFound: The specified queue does not exist: there is no such queue"}},
		"portal at queue": {func(c *azureCase) { c.says(200, "text/html", "<html>Please log in to the network") }, []string{"no answer of the storage account: HTTP 200, of something else"}},
		"odd answer":      {func(c *azureCase) { c.says(201, "application/xml", "<QueueMessagesList/>") }, []string{"no answer of the storage account", "something else"}},
		"queue moved":     {func(c *azureCase) { c.redirect("account.queue.core.windows.net") }, []string{"no answer of the storage account: HTTP 307"}},
		"no account":      {func(c *azureCase) { c.settings.URL = "https://other.queue.core.windows.net/snapshots" }, []string{"no answer of the storage account", "may the exporter reach it"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newAzureCase(t)
			test.arrange(c)
			c.expect(c.open(Destination{StorageQueue: &c.settings}), test.want...)
		})
	}
}

func (o *outside) portal(name string) {
	o.network.Serve(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "<html>Please log in to the network")
	}), name)
}

// TestNothingOfTheMachineLogsIn: what the SDKs' variables say is not the exporter's.
func TestNothingOfTheMachineLogsIn(t *testing.T) {
	for name, value := range map[string]string{
		"AZURE_AUTHORITY_HOST": "https://elsewhere.example.com", "AZURE_TENANT_ID": testObject, "AZURE_CLIENT_ID": testObject, "AZURE_CLIENT_SECRET": "secret",
		"AZURE_FEDERATED_TOKEN_FILE": "/none", "IDENTITY_ENDPOINT": "http://127.0.0.1:1", "GOOGLE_APPLICATION_CREDENTIALS": "/none",
		"GOOGLE_CLOUD_UNIVERSE_DOMAIN": "example.com", "PUBSUB_EMULATOR_HOST": "127.0.0.1:1", "GCE_METADATA_HOST": "127.0.0.1:1",
	} {
		t.Setenv(name, value)
	}
	g := newGoogleCase(t)
	g.expect(g.open(Destination{PubSub: &g.settings}))
	m := newAzureCase(t)
	m.expect(m.open(Destination{StorageQueue: &m.settings}))
	if m.network.Asked("elsewhere.example.com") != 0 {
		t.Error("the token went elsewhere")
	}
}

// TestSovereignClouds: an account of another Azure is logged in to at that one's Entra.
func TestSovereignClouds(t *testing.T) {
	t.Parallel()
	for suffix, login := range map[string]string{
		"queue.core.windows.net": "login.microsoftonline.com", "z21.queue.storage.azure.net": "login.microsoftonline.com",
		"queue.core.usgovcloudapi.net": "login.microsoftonline.us", "queue.core.chinacloudapi.cn": "login.chinacloudapi.cn",
	} {
		c := newOutside(t, entra.Audience)
		s := c.open(Destination{StorageQueue: &StorageQueue{URL: "https://account." + suffix + "/snapshots", TenantID: testTenant, ClientID: testClient, TokenFile: c.token}})
		c.expect(s, "no answer of Entra")
		if c.network.Asked(login) == 0 {
			t.Errorf("%s: %s was not asked", suffix, login)
		}
	}
}

// TestLargestSnapshotFits: Azure Storage takes 64 KiB after base64, and what every destination must take is 45 KiB.
func TestLargestSnapshotFits(t *testing.T) {
	t.Parallel()
	if encoded := (snapshot.MaxBytes + 2) / 3 * 4; encoded > 64<<10 {
		t.Errorf("a snapshot may have %d bytes in base64", encoded)
	}
}

// Whatever a cloud answers, what people read is short, on one line, and without tokens.
func FuzzCloudErrors(f *testing.F) {
	f.Add([]byte(`{"error":"invalid_grant","error_description":"` + secretToken + `"}`))
	f.Add([]byte(`{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}`))
	f.Add([]byte(`{"error":"invalid_client","error_description":"AADSTS700213: no\r\nTrace ID: 1"}`))
	f.Add([]byte("\ufeff<Error><Code>QueueNotFound</Code><Message>no\nRequestId:1</Message></Error>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		response := &http.Response{Status: "403 Forbidden", StatusCode: http.StatusForbidden}
		for _, r := range []refusal{
			readGoogleError(stsService, response, body).refusal, refusal{entraService, response.Status, ""}.entra(body), {storageService, "X", firstLine(body)},
		} {
			text := r.with("remedy").Error()
			if len(text) > 400 || strings.ContainsAny(text, "\n\r") || strings.Contains(text, secretToken[:30]) || !strings.HasSuffix(text, ": remedy") {
				t.Fatalf("%q", text)
			}
		}
	})
}
