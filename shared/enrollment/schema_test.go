package enrollment

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

var update = flag.Bool("update", false, "write the schemas anew")

// The schemas are for editors: they are generated from the types of the files, so that they can't say anything else.
func TestSchemas(t *testing.T) {
	t.Parallel()
	for name, schema := range map[string]*jsonschema.Schema{"cluster": schemaOf[clusterFile](t, "Cluster"), "publisher": schemaOf[publisherFile](t, "Publisher")} {
		data, err := json.MarshalIndent(schema, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, '\n')
		file := "schema/" + name + ".schema.json"
		if *update {
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(kept, data) {
			t.Errorf("%s is not what the types say (%v): run go test ./shared/enrollment -run TestSchemas -update", file, err)
		}
	}
}

func TestSchemasJudge(t *testing.T) {
	t.Parallel()
	const good = "apiVersion: " + settings.APIVersion + "\nkind: Publisher\nname: p\nissuers: [{url: https://a.example.com/b, clusters: [b], retention: 72h}]\nclusters: {directory: clusters}\n"
	resolved, err := schemaOf[publisherFile](t, "Publisher").Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		good:                true,
		good + "fleet: x\n": false,
		strings.Replace(good, "name: p\n", "", 1):                false,
		strings.Replace(good, "Publisher", "Cluster", 1):         false,
		strings.Replace(good, "[b]", "b", 1):                     false,
		strings.Replace(good, "url: https", "URL: https", 1):     false,
		strings.Replace(good, "retention: 72h", "shared: ja", 1): false,
		strings.Replace(good, "https://", "http://", 1):          false,
	} {
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := resolved.Validate(value); (err == nil) != want {
			t.Errorf("valid is %v (%v), want %v:\n%s", err == nil, err, want, text)
		}
	}
}

func schemaOf[T any](t *testing.T, kind string) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.For[T](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Duration](): {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`, Description: "a duration such as 48h"},
		reflect.TypeFor[keySet](): {
			Type: "object", Description: "a JWK Set of public keys (RFC 7517)", Required: []string{"keys"}, AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
			Properties: map[string]*jsonschema.Schema{"keys": {Type: "array", Items: &jsonschema.Schema{
				Type: "object", Required: []string{"kty", "kid"},
				Not: &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Required: []string{"d"}}, {Required: []string{"k"}}}}, // never a private key
			}}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	schema.Title = kind
	for field, value := range map[string]any{"apiVersion": settings.APIVersion, "kind": kind} {
		schema.Properties[field].Const = &value
	}
	if id := schema.Properties["id"]; id != nil {
		id.Pattern = clusterID.String()
	}
	if issuers := schema.Properties["issuers"]; issuers != nil {
		issuers.Items.Properties["url"].Pattern = "^https://[^?#]*[^/?#]$"
	}
	return schema
}
