package publishers

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

var update = flag.Bool("update", false, "write the schema anew")

const good = `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publishers
publishers:
- name: prod/111122223333
  lambda: {function: "arn:aws:lambda:eu-central-1:111122223333:function:prod-Publisher", profile: prod}
- name: prod/example-project
  cloudRun: {url: "https://operate-abc-ew.a.run.app", impersonate: oncall@example-project.iam.gserviceaccount.com}
  servedAt: {"https://oidc.example.com/prod": "https://storage.googleapis.com/example/prod"}
- name: prod/azure
  functionApp: {url: "https://acme.azurewebsites.net/v1/operate", audience: "api://kube-iam-assume-operators", tenantID: 00000000-0000-0000-0000-00000000000a}
- name: rack
  directory: {settings: publisher.yaml, data: /var/lib/kube-iam-assume}
`

// What is written wrongly is refused at its line, in words that help.
func TestSettings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ old, new, want string }{
		"nothing wrong":      {"", "", ""},
		"another kind":       {"kind: Publishers", "kind: Publisher", `p.yaml:2: invalid settings: kind is "Publisher", want "Publishers"`},
		"an unknown field":   {"profile: prod", "profil: prod", `p.yaml:5: invalid settings: unknown field "profil"`},
		"a name twice":       {"- name: rack", "- name: prod/azure", "p.yaml:11: invalid settings: publisher prod/azure is listed twice"},
		"no name":            {"- name: rack", `- name: ""`, "p.yaml:11: invalid settings: name \"\": want the publisher's name"},
		"a name of two":      {"- name: rack", `- name: "a\nb"`, "p.yaml:11: "},
		"no door":            {"  directory: {settings: publisher.yaml, data: /var/lib/kube-iam-assume}\n", "", "p.yaml:11: invalid settings: publisher rack has 0 doors"},
		"a function's name":  {"arn:aws:lambda:eu-central-1:111122223333:function:prod-Publisher", "prod-Publisher", "p.yaml:5: invalid settings: function \"prod-Publisher\": want its ARN"},
		"http":               {"https://operate", "http://operate", "p.yaml:7: invalid settings: url \"http://operate-abc-ew.a.run.app\": want https://HOST/PATH"},
		"a password":         {"https://operate", "https://a:b@operate", "p.yaml:7: "},
		"a person":           {"oncall@example-project.iam.gserviceaccount.com", "oncall@example.com", "p.yaml:7: invalid settings: impersonate \"oncall@example.com\": want a service account"},
		"two ways":           {"impersonate:", "tokenCommand: [a], impersonate:", "p.yaml:7: invalid settings: impersonate and tokenCommand are two ways"},
		"an empty command":   {"impersonate: oncall@example-project.iam.gserviceaccount.com", `tokenCommand: [""]`, "p.yaml:7: invalid settings: tokenCommand: an empty word"},
		"no audience":        {`audience: "api://kube-iam-assume-operators", `, "", "p.yaml:10: invalid settings: audience \"\": want the application ID URI"},
		"a tenant's name":    {"00000000-0000-0000-0000-00000000000a", "acme.example.com", "p.yaml:10: invalid settings: tenantID \"acme.example.com\""},
		"no data":            {", data: /var/lib/kube-iam-assume", "", "p.yaml:12: invalid settings: want settings"},
		"a mirror by http":   {"https://storage", "http://storage", "p.yaml:8: invalid settings: \"http://storage.googleapis.com/example/prod\": want https://"},
		"the same door":      {"publisher.yaml, data: /var/lib/kube-iam-assume}", "publisher.yaml, data: a}\n- name: shed\n  directory: {settings: publisher.yaml, data: a}", "p.yaml:13: invalid settings: publisher shed has the door of rack"},
		"no publishers":      {good[strings.Index(good, "publishers:"):], "publishers: []\n", "p.yaml:3: invalid settings: no publishers"},
		"an anchor":          {"- name: rack", "- name: &a rack", "anchors and aliases are not allowed"},
		"a line with a door": {"directory:", "doorway:", `p.yaml:12: invalid settings: unknown field "doorway"`},
	} {
		all, err := Parse("p.yaml", []byte(strings.Replace(good, test.old, test.new, 1)))
		switch {
		case test.want == "":
			if err != nil || len(all) != 4 {
				t.Errorf("%s: %v", name, err)
			}
		case err == nil || !errors.Is(err, settings.ErrInvalid) || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// The schema is for editors: it is generated from the types, so that it can't say anything else.
func TestSchema(t *testing.T) {
	t.Parallel()
	schema := schemaOf(t)
	data, err := json.MarshalIndent(schema, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	data = append(data, '\n')
	const name = "schema/publishers.schema.json"
	if *update {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := os.ReadFile(name); err != nil || !bytes.Equal(kept, data) {
		t.Errorf("%s is not what the types say (%v): run go test ./cli/publishers -run TestSchema -update", name, err)
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		good: true, good + "fleet: x\n": false, strings.Replace(good, "name: rack", "nome: rack", 1): false,
		strings.Replace(good, "url: ", "URL: ", 1): false, strings.Replace(good, "Publishers", "Publisher", 1): false,
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

func schemaOf(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.For[file](nil)
	if err != nil {
		t.Fatal(err)
	}
	schema.Title = kind
	for field, value := range map[string]any{"apiVersion": settings.APIVersion, "kind": kind} {
		schema.Properties[field].Const = &value
	}
	return schema
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte("apiVersion: config.kube-iam-assume.dev/v1alpha1\nkind: Publishers\npublishers: [{name: a, directory: {settings: b, data: c}}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := Parse("p.yaml", data)
		if err != nil {
			if !errors.Is(err, settings.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			return
		}
		text, err := Encode(all)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("p.yaml", text)
		if err != nil || !sameDoors(again, all) {
			t.Errorf("%v: read again it is %+v, was %+v", err, again, all)
		}
	})
}

// sameDoors does not tell an empty list from none.
func sameDoors(a, b []Publisher) bool {
	first, err := Encode(a)
	second, failed := Encode(b)
	return err == nil && failed == nil && bytes.Equal(first, second) && len(a) == len(b) && reflect.DeepEqual(namesOf(a), namesOf(b))
}
