package pubsub_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"
	"google.golang.org/api/option"
	rest "google.golang.org/api/pubsub/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/pubsub"
	"github.com/kube-iam-assume/kube-iam-assume/test/internet"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

const (
	issuer   = "https://oidc.example.com/prod"
	account  = "cluster-exporter"
	subject  = "system:serviceaccount:kube-iam-assume:" + account
	provider = "projects/1234/locations/global/workloadIdentityPools/clusters/providers/prod"
	audience = "https://iam.googleapis.com/" + provider
	topic    = "projects/my-project/topics/snapshots"
	sender   = "sender@my-project.iam.gserviceaccount.com"
	patience = 20 * time.Second
)

// cloud is Google, an issuer whose documents hold a key, and an API server that signs with it.
type cloud struct {
	*testing.T
	*pubsub.Google
	network *internet.Internet
	cluster *standin.Cluster
	key     *standin.Key
	topic   *pubsub.Topic
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	key, err := standin.NewECKey()
	if err != nil {
		t.Fatal(err)
	}
	network := internet.New(t)
	c := &cloud{T: t, Google: pubsub.Start(t, network), network: network, cluster: network.Cluster(issuer, key), key: key}
	c.Provide(provider, c.provider())
	c.topic = c.Topic(topic, pubsub.Principal(provider, subject))
	return c
}

func (c *cloud) provider() pubsub.Provider {
	return pubsub.Provider{Issuer: issuer, Documents: c.network.Client()}
}

func (c *cloud) token(name, audience string, seconds int64) string {
	c.Helper()
	token, err := c.cluster.Servers[0].PodToken("kube-iam-assume", name, "exporter-0", []string{audience}, seconds)
	if err != nil {
		c.Fatal(err)
	}
	return token
}

type supplied string

func (s supplied) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return string(s), nil
}

// publish uses Google's own clients.
func (c *cloud) publish(to, token string, change func(*externalaccount.Config)) error {
	c.Helper()
	ctx := context.WithValue(c.Context(), oauth2.HTTPClient, c.network.Client())
	login := externalaccount.Config{
		Audience: "//iam.googleapis.com/" + provider, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		Scopes: []string{rest.PubsubScope}, SubjectTokenSupplier: supplied(token),
	}
	change(&login)
	source, err := externalaccount.NewTokenSource(ctx, login)
	if err != nil {
		c.Fatal(err)
	}
	service, err := rest.NewService(ctx, option.WithHTTPClient(oauth2.NewClient(ctx, source)))
	if err != nil {
		c.Fatal(err)
	}
	_, err = service.Projects.Topics.Publish(to, &rest.PublishRequest{Messages: []*rest.PubsubMessage{{
		Data: base64.StdEncoding.EncodeToString([]byte("snapshot")), Attributes: map[string]string{"cluster": "prod"},
	}}}).Context(ctx).Do()
	return err
}

// Each way to be refused, and what Google says then.
func TestPublish(t *testing.T) {
	t.Parallel()
	none := func(*externalaccount.Config) {}
	impersonate := func(email string) func(*externalaccount.Config) {
		return func(login *externalaccount.Config) {
			login.ServiceAccountImpersonationURL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + email + ":generateAccessToken"
		}
	}
	for name, test := range map[string]struct {
		cloud  func(*cloud)
		token  func(*cloud) string
		change func(*externalaccount.Config)
		to     string
		want   string
	}{
		"right":            {},
		"short audience":   {token: func(c *cloud) string { return c.token(account, "//iam.googleapis.com/"+provider, 600) }},
		"by uploaded keys": {cloud: func(c *cloud) { c.upload(c.key) }},
		"by everyone":      {cloud: func(c *cloud) { c.Topic(topic, pubsub.Everyone(provider)) }},
		"by an account": {cloud: func(c *cloud) {
			c.Account(sender, pubsub.Principal(provider, subject))
			c.Topic(topic, "serviceAccount:"+sender)
		}, change: impersonate(sender)},
		"other audience":      {token: func(c *cloud) string { return c.token(account, "sts.amazonaws.com", 600) }, want: "invalid_grant"},
		"too long":            {token: func(c *cloud) string { return c.token(account, audience, 100000) }, want: "lifetime"},
		"long subject":        {token: func(c *cloud) string { return c.token(strings.Repeat("a", 127), audience, 600) }, want: "127 bytes"},
		"not a token":         {token: func(*cloud) string { return "eyJ" }, want: "invalid_grant"},
		"other uploaded keys": {cloud: func(c *cloud) { c.upload(newCloud(c.T).key) }, want: "invalid_grant"},
		"no documents":        {cloud: func(c *cloud) { c.network.Lead("oidc.example.com", "127.0.0.1:1") }, want: "Error connecting to the given credential's issuer"},
		"other issuer":        {cloud: func(c *cloud) { p := c.provider(); p.Issuer += "/"; c.Provide(provider, p) }, want: "invalid_grant"},
		"condition": {cloud: func(c *cloud) {
			p := c.provider()
			p.Condition = func(map[string]any) bool { return false }
			c.Provide(provider, p)
		}, want: "unauthorized_client"},
		"disabled":           {cloud: func(c *cloud) { p := c.provider(); p.Disabled = true; c.Provide(provider, p) }, want: "invalid_target"},
		"no such account":    {change: impersonate(sender), want: "404"},
		"somebody's account": {cloud: func(c *cloud) { c.Account(sender) }, change: impersonate(sender), want: "iam.serviceAccounts.getAccessToken"},
		"not a publisher":    {cloud: func(c *cloud) { c.Topic(topic, pubsub.Principal(provider, "somebody")) }, want: "User not authorized"},
		"no such topic":      {to: topic + "2", want: "Resource not found"},
		"scope of another API": {change: func(login *externalaccount.Config) {
			login.Scopes = []string{"https://www.googleapis.com/auth/devstorage.read_only"}
		}, want: "insufficient authentication scopes"},
		"provider by its alias": {change: func(login *externalaccount.Config) { login.Audience = "https://iam.googleapis.com/" + provider }, want: "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			if test.cloud != nil {
				test.cloud(c)
			}
			token, change, to := c.token(account, audience, 600), none, topic
			if test.token != nil {
				token = test.token(c)
			}
			if test.change != nil {
				change = test.change
			}
			if test.to != "" {
				to = test.to
			}
			err := c.publish(to, token, change)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			c.holds(err == nil)
		})
	}
}

func (c *cloud) upload(key *standin.Key) {
	c.Provide(provider, pubsub.Provider{Issuer: issuer, Keys: func() []byte { return jwks.Set{key.Key}.Encode() }})
}

func (c *cloud) holds(message bool) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Millisecond)
	defer cancel()
	if m, ok := c.topic.Receive(ctx); ok != message || ok && string(m.Data) != "snapshot" {
		c.Errorf("in the topic: %+v, %v", m, ok)
	}
}

// TestPush: a function that fails gets the same message again, until it does not fail.
func TestPush(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	type event struct {
		headers http.Header
		body    []byte
	}
	events := make(chan event, 10)
	answers := make(chan int, 3)
	for _, status := range []int{500, 404, 204} {
		answers <- status
	}
	function := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		events <- event{r.Header, body}
		w.WriteHeader(<-answers)
	}))
	t.Cleanup(function.Close)
	c.topic.Push(t, function.URL)
	if err := c.publish(topic, c.token(account, audience, 600), func(*externalaccount.Config) {}); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 3 {
		select {
		case got := <-events:
			ids = append(ids, got.headers.Get("Ce-Id"))
			var data struct {
				Message struct {
					Data       []byte            `json:"data"`
					MessageID  string            `json:"messageId"`
					Attributes map[string]string `json:"attributes"`
				} `json:"message"`
			}
			if err := json.Unmarshal(got.body, &data); err != nil || string(data.Message.Data) != "snapshot" || data.Message.Attributes["cluster"] != "prod" ||
				data.Message.MessageID != ids[0] || got.headers.Get("Ce-Type") != "google.cloud.pubsub.topic.v1.messagePublished" {
				t.Errorf("got %s, %v", got.body, got.headers)
			}
		case <-time.After(patience):
			t.Fatalf("delivered %d times", len(ids))
		}
	}
	if ids[0] == "" || ids[0] != ids[1] || ids[0] != ids[2] {
		t.Errorf("IDs %q", ids)
	}
	c.holds(false)
}
