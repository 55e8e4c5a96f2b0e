package exporter_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

const good = `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: prod-eu1
issuer: https://oidc.example.com/prod-eu1
destinations:
- {publisher: prod, webhook: {url: "https://publisher.example.com/v1/snapshots"}}
`

// What is in good, and what may be there instead.
const (
	aWebhook = `webhook: {url: "https://publisher.example.com/v1/snapshots"}`
	aTopic   = `pubsub: {topic: projects/my-project/topics/snapshots, provider: projects/1234/locations/global/workloadIdentityPools/clusters/providers/prod-eu1}`
	aQueue   = `storageQueue: {url: "https://account.queue.core.windows.net/snapshots", tenantID: 72f988bf-86f1-41af-91ab-2d7cd011db47, clientID: 11111111-2222-3333-4444-555555555555}`
)

func TestSettings(t *testing.T) {
	t.Parallel()
	s, err := exporter.ParseSettings("exporter.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if s.PollInterval != 10*time.Second || s.HeartbeatInterval != 10*time.Minute ||
		s.ServiceAccount != exporter.DefaultServiceAccount || s.APIServers.ServerName != exporter.DefaultServerName {
		t.Errorf("defaults: %+v", s)
	}
	full, err := exporter.ParseSettings("exporter.yaml", []byte(strings.Replace(good, "}}", ", caBundle: /ca.pem}}", 1)+
		`pollInterval: 5s
heartbeatInterval: 15m
serviceAccount: other/account
proxy: http://proxy.example.com:3128
caBundle: /etc/ca.pem
apiServers: {addresses: ["10.0.0.1:6443", "[fd00::1]:6443"], serverName: "", caFile: /cluster.pem}
`))
	if err != nil || full.APIServers.ServerName != "" || len(full.APIServers.Addresses) != 2 || full.Destinations[0].Webhook.CABundle != "/ca.pem" {
		t.Errorf("%+v, %v", full, err)
	}
}

func TestSettingsOfQueues(t *testing.T) {
	t.Parallel()
	for name, destination := range map[string]string{
		"topic":                 aTopic,
		"topic and webhook":     aTopic + ", " + aWebhook,
		"topic of a domain":     strings.Replace(aTopic, "my-project", "example.com:my-project", 1),
		"topic by account":      strings.Replace(aTopic, "provider: ", "serviceAccount: sender@my-project.iam.gserviceaccount.com, tokenFile: /token, provider: ", 1),
		"storage":               aQueue,
		"storage and webhook":   aWebhook + ", " + aQueue,
		"storage in a DNS zone": strings.Replace(aQueue, "queue.core.windows.net", "z21.queue.storage.azure.net", 1),
		"storage in China":      strings.Replace(aQueue, "windows.net", "chinacloudapi.cn", 1),
		"storage of the USA":    strings.Replace(aQueue, "windows.net", "usgovcloudapi.net", 1),
	} {
		if _, err := exporter.ParseSettings("exporter.yaml", []byte(strings.Replace(good, aWebhook, destination, 1))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every refusal names the line and says what is wanted.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, with, want string }{
		"another kind":         {"kind: Exporter", "kind: Publisher", "exporter.yaml:2"},
		"unknown field":        {"cluster:", "heartbeat: 1m\ncluster:", `unknown field "heartbeat"`},
		"no cluster":           {"cluster: prod-eu1\n", "", "cluster's ID"},
		"cluster ID":           {"cluster: prod-eu1", "cluster: Prod", "exporter.yaml:3"},
		"http issuer":          {"https://oidc", "http://oidc", "--service-account-issuer"},
		"issuer with slash":    {"com/prod-eu1\n", "com/prod-eu1/\n", "trailing slash"},
		"issuer with query":    {"com/prod-eu1\n", "com/prod-eu1?a\n", "query"},
		"no destinations":      {"- {publisher: prod, webhook: {url: \"https://publisher.example.com/v1/snapshots\"}}\n", "", "nobody would be told"},
		"http webhook":         {"https://publisher", "http://publisher", "want an https URL"},
		"password in webhook":  {"https://publisher", "https://me:secret@publisher", "without credentials"},
		"no publisher":         {"publisher: prod", "publisher: ''", "publisher's name"},
		"no webhook":           {", webhook: {url: \"https://publisher.example.com/v1/snapshots\"}", "", "no webhook"},
		"queue without role":   {aWebhook, `sqs: {url: "https://sqs.eu-central-1.amazonaws.com/1/q"}`, "want the role that may send"},
		"queue in plain text":  {aWebhook, `sqs: {url: "http://sqs.eu-central-1.amazonaws.com/1/q"}`, "want the queue's https URL"},
		"queue elsewhere":      {aWebhook, `sqs: {url: "https://sqs.eu-central-1.amazonaws.com/1/q", region: us-east-1}`, "its URL is in eu-central-1"},
		"queue of no region":   {aWebhook, `sqs: {url: "https://queue.example.com/1/q"}`, "set region"},
		"queue's role":         {aWebhook, `sqs: {url: "https://sqs.eu-central-1.amazonaws.com/1/q", roleARN: "arn:aws:iam::1:user/me"}`, "want the role that may send"},
		"several queues":       {aWebhook, aTopic + ", " + aQueue, "want one"},
		"no topic":             {aWebhook, "pubsub: {}", "exporter.yaml:6"},
		"topic's name alone":   {aWebhook, strings.Replace(aTopic, "projects/my-project/topics/", "", 1), "want projects/PROJECT/topics/TOPIC"},
		"provider by URL":      {aWebhook, strings.Replace(aTopic, "provider: ", "provider: //iam.googleapis.com/", 1), "nothing before it"},
		"provider by ID":       {aWebhook, strings.Replace(aTopic, "projects/1234", "projects/my-project", 1), "the project's number"},
		"account":              {aWebhook, strings.Replace(aTopic, "provider: ", "serviceAccount: me@example.com, provider: ", 1), "e-mail address of a Google service account"},
		"unknown in a topic":   {aWebhook, strings.Replace(aTopic, "provider: ", "key: secret, provider: ", 1), `unknown field "key"`},
		"storage in plain":     {aWebhook, strings.Replace(aQueue, "https:", "http:", 1), "want the queue's https URL"},
		"storage elsewhere":    {aWebhook, strings.Replace(aQueue, "windows.net", "example.com", 1), "want the queue's https URL"},
		"storage with SAS":     {aWebhook, strings.Replace(aQueue, "/snapshots", "/snapshots?sig=secret", 1), "without a signature"},
		"storage account only": {aWebhook, strings.Replace(aQueue, "/snapshots", "/", 1), "ACCOUNT.queue.core.windows.net/QUEUE"},
		"queue's name":         {aWebhook, strings.Replace(aQueue, "/snapshots", "/Snap--shots", 1), "ACCOUNT.queue.core.windows.net/QUEUE"},
		"tenant by name":       {aWebhook, strings.Replace(aQueue, "72f988bf-86f1-41af-91ab-2d7cd011db47", "example.com", 1), "tenantID \"example.com\""},
		"no client":            {aWebhook, strings.Replace(aQueue, ", clientID: 11111111-2222-3333-4444-555555555555", "", 1), "want the client ID"},
		"publisher twice":      {"destinations:\n", "destinations:\n- {publisher: prod, webhook: {url: \"https://x/v1/snapshots\"}}\n", "exporter.yaml:7"},
		"poll too often":       {"cluster:", "pollInterval: 10ms\ncluster:", "1s to 1m"},
		"poll too seldom":      {"cluster:", "pollInterval: 2m\ncluster:", "1s to 1m"},
		"heartbeat too often":  {"cluster:", "heartbeatInterval: 1s\ncluster:", "no less than pollInterval"},
		"heartbeat too seldom": {"cluster:", "heartbeatInterval: 1h\ncluster:", "silence"},
		"not a duration":       {"cluster:", "pollInterval: 10\ncluster:", "exporter.yaml:3"},
		"service account":      {"cluster:", "serviceAccount: exporter\ncluster:", "namespace/name"},
		"expect one":           {"cluster:", "apiServers: {expect: 1}\ncluster:", "addresses"},
		"expect too many":      {"cluster:", "apiServers: {expect: 100}\ncluster:", "2 to 16"},
		"expect and addresses": {"cluster:", "apiServers: {expect: 3, addresses: ['a:1']}\ncluster:", "not both"},
		"address without port": {"cluster:", "apiServers: {addresses: ['10.0.0.1']}\ncluster:", "host:port"},
		"address twice":        {"cluster:", "apiServers: {addresses: ['a:1', 'a:1']}\ncluster:", "once"},
		"proxy":                {"cluster:", "proxy: proxy.example.com\ncluster:", "proxy"},
	} {
		changed := strings.Replace(good, test.old, test.with, 1)
		_, err := exporter.ParseSettings("exporter.yaml", []byte(changed))
		if changed == good || !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := exporter.ParseSettings("exporter.yaml", data)
		if (err == nil) == reflect.DeepEqual(s, exporter.Settings{}) {
			t.Fatalf("settings %+v and error %v", s, err)
		}
	})
}
