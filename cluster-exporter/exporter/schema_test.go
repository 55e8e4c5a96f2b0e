package exporter

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

var update = flag.Bool("update", false, "write the schema and the table of metrics anew")

// The schema is for editors: it is generated from the type of the file, so that it can't say anything else.
func TestSchema(t *testing.T) {
	t.Parallel()
	const file = "schema/exporter.schema.json"
	data, err := json.MarshalIndent(schema(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	if *update {
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(kept, data) {
		t.Errorf("%s is not what the type says (%v): run go test ./cluster-exporter/exporter -run TestSchema -update", file, err)
	}
}

func TestSchemaJudgesAsParseSettingsDoes(t *testing.T) {
	t.Parallel()
	const good = "apiVersion: " + settings.APIVersion + "\nkind: Exporter\ncluster: prod\nissuer: https://a.example.com/b\n" +
		"destinations: [{publisher: p, webhook: {url: https://p.example.com/v1/snapshots, caBundle: /ca.pem}}]\n"
	resolved, err := schema(t).Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		good: true,
		good + "pollInterval: 5s\nheartbeatInterval: 20m\nproxy: http://p:1\nserviceAccount: a/b\napiServers: {expect: 3, serverName: a, caFile: /ca}\n": true,
		good + "apiServers: {addresses: ['a:1']}\n":                     true,
		good + "fleet: x\n":                                             false,
		good + "pollInterval: 5\n":                                      false,
		strings.Replace(good, "cluster: prod\n", "", 1):                 false,
		strings.Replace(good, "cluster: prod", "cluster: Prod", 1):      false,
		strings.Replace(good, "Exporter", "Cluster", 1):                 false,
		strings.Replace(good, "issuer: https://", "issuer: http://", 1): false,
		strings.Replace(good, "webhook: {url", "sqs: {url", 1):          false,
		strings.Replace(good, "webhook: {", "sqs: {url: https://sqs.eu-central-1.amazonaws.com/1/q, roleARN: 'arn:aws:iam::111122223333:role/r'}, webhook: {", 1):                                                         true,
		strings.Replace(good, "webhook: {", "pubsub: {topic: projects/my-project/topics/t01, provider: projects/1/locations/global/workloadIdentityPools/pool/providers/prov}, webhook: {", 1):                            true,
		strings.Replace(good, "webhook: {", "pubsub: {topic: projects/my-project/topics/t01}, webhook: {", 1):                                                                                                             false,
		strings.Replace(good, "webhook: {", "storageQueue: {url: https://acc.queue.core.windows.net/abc, tenantID: 72f988bf-86f1-41af-91ab-2d7cd011db47, clientID: 11111111-2222-3333-4444-555555555555}, webhook: {", 1): true,
		strings.Replace(good, "webhook: {", "storageQueue: {url: https://acc.queue.core.windows.net/abc}, webhook: {", 1):                                                                                                 false,
		strings.Replace(good, "webhook: {", "pubsub: {topic: t01, provider: projects/1/locations/global/workloadIdentityPools/pool/providers/prov}, webhook: {", 1):                                                       false,
		strings.Replace(good, "{url: https://", "{url: http://", 1):                                                                                                                                                       false,
		strings.Replace(good, "a.example.com/b", "a.example.com/b/", 1):                                                                                                                                                   false,
		strings.Replace(good, "destinations: [", "destinations: []\n#", 1):                                                                                                                                                false,
		strings.Replace(good, "publisher: p, ", "", 1):                                                                                                                                                                    false,
		strings.Replace(good, "caBundle: /ca.pem", "caBundle: [/ca.pem]", 1):                                                                                                                                              false,
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		_, parsed := ParseSettings("exporter.yaml", []byte(text))
		if err := resolved.Validate(value); (err == nil) != want || (parsed == nil) != want {
			t.Errorf("valid is %v (%v), parsed %v, want %v:\n%s", err == nil, err, parsed, want, text)
		}
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.For[Settings](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Duration](): {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`, Description: "a duration such as 10s"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Title = "Exporter"
	for field, value := range map[string]any{"apiVersion": settings.APIVersion, "kind": "Exporter"} {
		s.Properties[field].Const = &value
	}
	s.Properties["cluster"].Pattern = clusterID.String()
	s.Properties["issuer"].Pattern = "^https://[^?#]*[^/?#]$"
	destinations := s.Properties["destinations"]
	destinations.Type, destinations.Types, destinations.MinItems = "array", nil, new(1)
	webhook := destinations.Items.Properties["webhook"]
	webhook.Type, webhook.Types = "object", nil
	webhook.Properties["url"].Pattern = "^https://"
	for kind, patterns := range map[string]map[string]*regexp.Regexp{
		"sqs":          nil,
		"pubsub":       {"topic": pubsubTopic, "provider": googleProvider, "serviceAccount": googleAccount},
		"storageQueue": {"tenantID": entraID, "clientID": entraID},
	} {
		queue := destinations.Items.Properties[kind]
		queue.Type, queue.Types = "object", nil
		for member, pattern := range patterns {
			queue.Properties[member].Pattern = strings.ReplaceAll(pattern.String(), "(?:", "(") // which is the same in a schema
		}
	}
	return s
}
