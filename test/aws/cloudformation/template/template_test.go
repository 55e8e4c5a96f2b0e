package template_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/template"
)

const queue = `{"Type": "Q", "Properties": %s}`

func resources(properties ...string) string {
	var all []string
	for i, p := range properties {
		all = append(all, `"`+string(rune('A'+i))+`": `+strings.Replace(queue, "%s", p, 1))
	}
	return `{"Resources": {` + strings.Join(all, ",") + `}}`
}

func TestOrder(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ template, want string }{
		"by name":          {resources(`{}`, `{}`), "A B"},
		"Ref":              {resources(`{"X": {"Ref": "B"}}`, `{}`), "B A"},
		"GetAtt":           {resources(`{"X": [{"Fn::GetAtt": ["B", "Arn"]}]}`, `{}`), "B A"},
		"GetAtt as text":   {resources(`{"X": {"Fn::GetAtt": "B.Arn"}}`, `{}`), "B A"},
		"Sub":              {resources(`{"X": {"Fn::Sub": "${B.Arn}-${!A}-${AWS::Region}"}}`, `{}`), "B A"},
		"Sub of variables": {resources(`{"X": {"Fn::Sub": ["${y}", {"y": {"Ref": "C"}}]}}`, `{}`, `{}`), "C A B"},
		"inside others":    {resources(`{"X": {"Fn::Join": ["", ["a", {"Fn::Select": [0, [{"Ref": "C"}]]}]]}}`, `{}`, `{"X": {"Ref": "B"}}`), "B C A"},
		"DependsOn":        {`{"Resources": {"A": {"Type": "Q", "DependsOn": "C"}, "B": {"Type": "Q"}, "C": {"Type": "Q", "DependsOn": ["B"]}}}`, "B C A"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed, err := template.Parse([]byte(c.template))
			if err != nil {
				t.Fatal(err)
			}
			order, err := parsed.Order()
			if got := strings.Join(order, " "); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ template, want string }{
		"cycle":             {resources(`{"X": {"Ref": "B"}}`, `{"X": {"Fn::Sub": "${A.Arn}"}}`), "A → B → A"},
		"itself":            {resources(`{"X": {"Ref": "A"}}`), "A → A"},
		"dangling Ref":      {resources(`{"X": {"Ref": "Z"}}`), `"Z"`},
		"dangling depends":  {`{"Resources": {"A": {"Type": "Q", "DependsOn": "Z"}}}`, "Z"},
		"dangling in Sub":   {resources(`{"X": {"Fn::Sub": "${Z.Arn}"}}`), `"Z"`},
		"no type":           {`{"Resources": {"A": {}}}`, "no Type"},
		"no resources":      {`{}`, "no resources"},
		"unknown attribute": {`{"Resources": {"A": {"Type": "Q", "Propertys": {}}}}`, "Propertys"},
		"unknown condition": {`{"Resources": {"A": {"Type": "Q", "Condition": "C"}}}`, "condition C"},
		"unknown policy":    {`{"Resources": {"A": {"Type": "Q", "DeletionPolicy": "Snapshot"}}}`, "Snapshot"},
		"no JSON":           {"Resources: {}", "JSON"},
		"more than one":     {resources(`{}`) + "{}", "follows"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := template.Parse([]byte(c.template))
			if !errors.Is(err, template.ErrTemplate) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	parsed, err := template.Parse([]byte(`{
	  "Mappings": {"M": {"a": {"b": "c"}}},
	  "Conditions": {"Yes": {"Fn::Equals": [{"Ref": "AWS::Region"}, "r"]}, "No": {"Fn::Not": [{"Condition": "Yes"}]},
	    "Both": {"Fn::And": [{"Condition": "Yes"}, {"Condition": "No"}]}, "Any": {"Fn::Or": [{"Condition": "Yes"}, {"Condition": "No"}]},
	    "Loop": {"Fn::Not": [{"Condition": "Loop"}]}},
	  "Resources": {"A": {"Type": "Q"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	scope := template.Scope{
		Values:    map[string]any{"AWS::Region": "r"},
		Ref:       func(id string) (any, error) { return "ref-" + id, nil },
		Attribute: func(id, name string) (any, error) { return id + "." + name, nil },
	}
	object := func(name string, argument any) map[string]any { return map[string]any{name: argument} }
	list := func(items ...any) []any { return items }
	ref := func(name string) any { return object("Ref", name) }
	choose := func(condition string) any { return object("Fn::If", list(condition, "yes", "no")) }
	for name, c := range map[string]struct{ value, want any }{
		"plain":    {object("a", list(1.0, true, "x")), object("a", list(1.0, true, "x"))},
		"Ref":      {ref("A"), "ref-A"},
		"pseudo":   {ref("AWS::Region"), "r"},
		"NoValue":  {map[string]any{"a": ref("AWS::NoValue"), "b": list(ref("AWS::NoValue"), 1.0)}, object("b", list(1.0))},
		"GetAtt":   {object("Fn::GetAtt", list("A", "B")), "A.B"},
		"Join":     {object("Fn::Join", list("-", list("a", ref("A"), 2.0, true))), "a-ref-A-2-true"},
		"Split":    {object("Fn::Select", list("1", object("Fn::Split", list("-", ref("A"))))), "A"},
		"Sub":      {object("Fn::Sub", "${A}/${A.Arn}/${!A}/${AWS::Region}"), "ref-A/A.Arn/${A}/r"},
		"Sub's":    {object("Fn::Sub", list("${x}${A}", object("x", ref("A")))), "ref-Aref-A"},
		"Map":      {object("Fn::FindInMap", list("M", "a", "b")), "c"},
		"Base64":   {object("Fn::Base64", "a"), "YQ=="},
		"If":       {choose("Yes"), "yes"},
		"If not":   {choose("No"), "no"},
		"and":      {choose("Both"), "no"},
		"or":       {choose("Any"), "yes"},
		"policy":   {object("Condition", object("StringEquals", "x")), object("Condition", object("StringEquals", "x"))},
		"no Ref":   {ref("Z"), nil},
		"unknown":  {object("Fn::Transform", "x"), nil},
		"outside":  {object("Fn::Select", list(3.0, list("a"))), nil},
		"loop":     {choose("Loop"), nil},
		"bad join": {object("Fn::Join", list("-", list(list()))), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := parsed.Resolve(c.value, scope)
			if c.want == nil && !errors.Is(err, template.ErrTemplate) || c.want != nil && (err != nil || !cmp.Equal(got, c.want)) {
				t.Errorf("%v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, properties := range []string{`{}`, `{"X": {"Fn::Sub": "${A}"}}`, `{"X": {"Fn::GetAtt": "A"}}`, `{"X": {"Fn::If": []}}`} {
		f.Add([]byte(resources(properties, `{}`)))
	}
	scope := template.Scope{
		Ref: func(string) (any, error) { return "x", nil }, Attribute: func(string, string) (any, error) { return "x", nil },
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := template.Parse(data)
		if err != nil {
			return
		}
		order, err := parsed.Order()
		if err != nil || len(order) != len(parsed.Resources) {
			t.Fatalf("%q, %v", order, err)
		}
		for _, id := range slices.Sorted(maps.Keys(parsed.Resources)) {
			_, _ = parsed.Resolve(parsed.Resources[id].Properties, scope) // no panic is all that is asked
		}
	})
}
