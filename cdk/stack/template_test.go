package stack_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stack"
	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// One Node process serves all tests, and takes one request at a time: none of them is parallel.
func TestMain(m *testing.M) {
	code := m.Run()
	jsii.Close()
	os.Exit(code)
}

var modes = []string{"bucket", "cloudfront", "existing"}

// template is what CloudFormation gets.
type template struct {
	Resources map[string]*resource
	Outputs   map[string]any
	silent    bool // the settings name nobody to tell of alarms
}

type resource struct {
	Type                string
	Properties          map[string]any
	DependsOn           []string
	DeletionPolicy      string
	UpdateReplacePolicy string
}

// The template of each mode, made once.
var made = map[string][]byte{}

func load(t *testing.T, mode string) stackfile.Stack {
	t.Helper()
	file, err := stackfile.Load("../stackfile/testdata/" + mode + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// synthesize gives a template that a test may change.
func synthesize(t *testing.T, mode string) template {
	t.Helper()
	if made[mode] == nil {
		made[mode] = render(t, load(t, mode))
	}
	var parsed template
	if err := json.Unmarshal(made[mode], &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed
}

func render(t *testing.T, file stackfile.Stack) []byte {
	t.Helper()
	app := stack.NewApp()
	s := stack.New(app, file, pack(t, file))
	return templateOf(t, app, s)
}

func templateOf(t *testing.T, app awscdk.App, s awscdk.Stack) []byte {
	t.Helper()
	text, err := json.MarshalIndent(app.Synth(nil).GetStackByName(s.StackName()).Template(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(text, '\n')
}

// pack is the function's package with a bootstrap that is always the same.
func pack(t *testing.T, file stackfile.Stack) string {
	t.Helper()
	folder := t.TempDir()
	files := file.Package()
	files["bootstrap"] = []byte("#!/bin/sh\n")
	for name, data := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// of gives the resources of a type, by logical ID, in order.
func (t template) of(kind string) []string {
	var ids []string
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		if t.Resources[id].Type == kind {
			ids = append(ids, id)
		}
	}
	return ids
}

// at follows a path of names and indices through properties.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			array, _ := value.([]any)
			if step >= len(array) {
				return nil
			}
			value = array[step]
		}
	}
	return value
}

// list makes one value a list of one: in a policy, both mean the same.
func list(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	}
	return []any{value}
}

// text writes an expression down as it would be resolved: references by their logical ID.
func text(value any) string {
	switch value := value.(type) {
	case string:
		return value
	case map[string]any:
		if join := list(value["Fn::Join"]); len(join) == 2 {
			var parts []string
			for _, part := range list(join[1]) {
				parts = append(parts, text(part))
			}
			return strings.Join(parts, text(join[0]))
		}
		if get := list(value["Fn::GetAtt"]); len(get) == 2 {
			return "<" + text(get[0]) + "." + text(get[1]) + ">"
		}
		if ref, ok := value["Ref"].(string); ok {
			return "<" + ref + ">"
		}
	}
	return fmt.Sprint(value)
}

// statement is one of any policy, with where it stands.
type statement struct {
	owner, kind string // resource, and its type
	trust       bool   // says who may assume a role
	body        map[string]any
}

func (s statement) actions() []string   { return texts(list(s.body["Action"])) }
func (s statement) resources() []string { return texts(list(s.body["Resource"])) }
func (s statement) allows() bool        { return s.body["Effect"] == "Allow" }

func texts(values []any) []string {
	var all []string
	for _, value := range values {
		all = append(all, text(value))
	}
	return all
}

// statements are all of all policies.
func (t template) statements() []statement {
	var all []statement
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[id]
		add := func(document any, trust bool) {
			for _, body := range list(at(document, "Statement")) {
				all = append(all, statement{id, r.Type, trust, body.(map[string]any)})
			}
		}
		add(r.Properties["AssumeRolePolicyDocument"], true)
		add(r.Properties["PolicyDocument"], false)
		for _, inline := range list(r.Properties["Policies"]) {
			add(at(inline, "PolicyDocument"), false)
		}
	}
	return all
}
