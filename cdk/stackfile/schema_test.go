package stackfile

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

var update = flag.Bool("update", false, "write the schema anew")

const schemaFile = "schema/stack.schema.json"

// The schema is for editors. It is generated from the type of the file, so that it can't say anything else.
func TestSchema(t *testing.T) {
	t.Parallel()
	data := append(must(json.MarshalIndent(schema(t), "", "  ")), '\n')
	if *update {
		if err := os.WriteFile(schemaFile, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("%s is not what the type says (%v): run go test ./stackfile -run TestSchema -update", schemaFile, err)
	}
}

func TestSchemaJudges(t *testing.T) {
	t.Parallel()
	resolved := must(schema(t).Resolve(nil))
	hosting := regexp.MustCompile("hosting: .*")
	for _, file := range []string{"bucket", "cloudfront", "existing"} {
		good := must(os.ReadFile("testdata/" + file + ".yaml"))
		for text, want := range map[string]bool{
			string(good):                                          true,
			string(good) + "fleet: 1\n":                           false,
			string(good) + "webhook: 1\n":                         false,
			string(good) + "webhook: telnet\n":                    false,
			string(good) + "webhook: functionURL\n":               true,
			hosting.ReplaceAllString(string(good), "hosting: {}"): false,
			hosting.ReplaceAllString(string(good), "hosting: {bucket: {prefix: a}, existing: 'https://b.example.com'}"): false,
			strings.Replace(string(good), `"111122223333"`, `"1111"`, 1):                                                false,
			strings.Replace(string(good), "production/payments", "production/*", 1):                                     false,
		} {
			var value any
			if err := yaml.Unmarshal([]byte(text), &value); err != nil {
				t.Fatal(err)
			}
			if err := resolved.Validate(value); (err == nil) != want {
				t.Errorf("%s: valid is %v (%v), want %v", file, err == nil, err, want)
			}
		}
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.For[file](&jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[time.Duration](): {Type: "string", Pattern: `^([0-9]+(\.[0-9]+)?(h|m|s|ms))+$`, Description: "a duration such as 48h"},
		reflect.TypeFor[Document]():      {Type: "object", Description: "a policy of IAM", Required: []string{"Version", "Statement"}},
		reflect.TypeFor[selection](): {
			Description: "cluster IDs, or all",
			AnyOf:       []*jsonschema.Schema{{Const: new(any("all"))}, {Type: "array", Items: &jsonschema.Schema{Type: "string"}, MinItems: new(1)}},
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", "AWSStack of kube-iam-assume"
	for field, pattern := range map[string]*regexp.Regexp{"name": stackName, "account": accountID, "region": region} {
		s.Properties[field].Pattern = pattern.String()
	}
	role := s.Properties["roles"].Items
	role.Properties["serviceAccount"].Pattern, role.Properties["managedPolicies"].Items.Pattern = serviceAccount.String(), managedPolicy.String()
	s.Properties["hosting"].MinProperties, s.Properties["hosting"].MaxProperties = new(1), new(1)
	s.Properties["alarms"].MaxProperties = new(1)
	s.Properties["webhook"].Enum = []any{string(HTTPAPI), string(FunctionURL), string(NoWebhook)}
	s.Properties["apiVersion"].Const, s.Properties["kind"].Const = new(any(settings.APIVersion)), new(any("AWSStack"))
	return s
}
