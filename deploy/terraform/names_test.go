package terraform_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

const root = "../.."

// goText is the text of a folder's Go files that are no tests, and of its JSON.
func goText(t *testing.T, folders ...string) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(name string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() && entry.Name() == "pack" {
				return fs.SkipDir // a tool of the build
			}
			if err != nil || entry.IsDir() || strings.HasSuffix(name, "_test.go") || filepath.Ext(name) != ".go" && filepath.Ext(name) != ".json" {
				return err
			}
			text, err := os.ReadFile(name)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}

// The names that the platform reads, or the Functions host, and our code does not.
var ofThePlatform = regexp.MustCompile(`^(AzureWebJobsStorage__[a-zA-Z]+|AzureWebJobs\.[a-z]+\.Disabled|SNAPSHOTS_STORAGE__[a-zA-Z]+|FUNCTIONS_REQUEST_BODY_SIZE_LIMIT|APPLICATIONINSIGHTS_CONNECTION_STRING)$`)

// What a platform sets by itself, or only a developer.
var givenAnyway = []string{"PORT", "LOCAL_ONLY", "K_SERVICE", "IDENTITY_ENDPOINT", "FUNCTIONS_CUSTOMHANDLER_PORT", "AZURE_AUTHORITY_HOST"}

func TestSettingNames(t *testing.T) {
	t.Parallel()
	c := load(t)
	for cloud, set := range map[string][]string{"gcp": c.serviceEnvironment(t), "azure": c.appSettings(t)} {
		text := goText(t, "functions/"+cloud, "shared/function")
		for _, name := range set {
			if !ofThePlatform.MatchString(name) && !strings.Contains(text, `"`+name+`"`) && !strings.Contains(text, `%`+name+`%`) {
				t.Errorf("%s: nothing reads the setting %s", cloud, name)
			}
		}
		for _, name := range read(text) {
			if !slices.Contains(set, name) && !slices.Contains(givenAnyway, name) {
				t.Errorf("%s: the function reads %s, which Terraform does not set", cloud, name)
			}
		}
	}
}

// read are the names of the variables that Go code reads: written out, or as a constant.
func read(text string) []string {
	names := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?:getenv|os\.Getenv|os\.LookupEnv)\("([A-Z_0-9]+)"\)`).FindAllStringSubmatch(text, -1) {
		names[match[1]] = true
	}
	for _, match := range regexp.MustCompile(`[A-Za-z]+Variable\s*=\s*"([A-Z_0-9]+)"`).FindAllStringSubmatch(text, -1) {
		names[match[1]] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func (c configuration) serviceEnvironment(t *testing.T) []string {
	t.Helper()
	door, err := c.resource("gcp", "google_cloud_run_v2_service", "door")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, variable := range door.inner("template")[0].inner("containers")[0].inner("env") {
		names = append(names, strings.Trim(variable.source("name"), `"`))
	}
	return names
}

func (c configuration) appSettings(t *testing.T) []string {
	t.Helper()
	locals, err := c.blocks("azure", "locals")
	if err != nil {
		t.Fatal(err)
	}
	var settings hclsyntax.Expression
	for _, b := range locals {
		if found := b.find("app_settings"); found != nil {
			settings = found
		}
	}
	if settings == nil {
		t.Fatal("azure has no local app_settings")
	}
	var names []string
	hclsyntax.VisitAll(settings, func(node hclsyntax.Node) hcl.Diagnostics { //nolint:errcheck // visiting does not fail
		if object, ok := node.(*hclsyntax.ObjectConsExpr); ok {
			for _, item := range object.Items {
				if key, diagnostics := item.KeyExpr.Value(nil); !diagnostics.HasErrors() {
					names = append(names, key.AsString())
				}
			}
		}
		return nil
	})
	return names
}

// The doors of both clouds are those of the Go code.
func TestDoors(t *testing.T) {
	t.Parallel()
	c := load(t)
	doors := goText(t, "functions/gcp/doors")
	for _, match := range regexp.MustCompile(`target = "([A-Za-z]+)"`).FindAllStringSubmatch(c["gcp/functions.tf"], -1) {
		if !strings.Contains(doors, `"`+match[1]+`":`) {
			t.Errorf("functions/gcp has no door %s", match[1])
		}
	}
	for _, match := range regexp.MustCompile(`AzureWebJobs\.([a-z]+)\.Disabled`).FindAllStringSubmatch(c["azure/function.tf"], -1) {
		if _, err := os.Stat(filepath.Join(root, "functions/azure/app", match[1], "function.json")); err != nil {
			t.Errorf("functions/azure has no function %s: %v", match[1], err)
		}
	}
	for _, route := range []string{"v1/snapshots", "v1/operate"} {
		if !strings.Contains(goText(t, "functions/azure/app"), `"`+route+`"`) || !strings.Contains(c["azure/outputs.tf"], "/"+route) {
			t.Errorf("the route %s is not both of the function and of the outputs", route)
		}
	}
}

func documents(t *testing.T, names ...string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, "docs", name+".md"))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// The exporters' values are settings that the exporter knows, and all that a destination needs.
func TestExporterValues(t *testing.T) {
	t.Parallel()
	c := load(t)
	text, err := os.ReadFile(filepath.Join(root, "cluster-exporter/exporter/schema/exporter.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Properties map[string]json.RawMessage
		Items      json.RawMessage
		Required   []string
	}
	parse := func(text json.RawMessage) (s schema) {
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	exporter := parse(text)
	exporter.Required = slices.DeleteFunc(exporter.Required, func(name string) bool { return name == "apiVersion" || name == "kind" }) // the chart's
	destination := parse(parse(exporter.Properties["destinations"]).Items)
	for folder, queue := range map[string]string{"gcp": "pubsub", "azure": "storageQueue"} {
		objects := c.objects(t, folder, "exporters")
		for i, known := range []schema{exporter, destination, parse(destination.Properties["webhook"]), parse(destination.Properties[queue])} {
			fits := func(names []string) bool {
				return !slices.ContainsFunc(names, func(name string) bool { return known.Properties[name] == nil }) &&
					!slices.ContainsFunc(known.Required, func(name string) bool { return !slices.Contains(names, name) })
			}
			if !slices.ContainsFunc(objects, fits) {
				t.Errorf("%s: of %q none is schema %d of the exporter, which needs %q", folder, objects, i, known.Required)
			}
		}
		for _, names := range objects {
			for _, name := range names {
				if !strings.Contains(string(text), `"`+name+`"`) {
					t.Errorf("%s: the exporter knows no setting %s", folder, name)
				}
			}
		}
	}
}

// objects are the names of the members of every object in an output.
func (c configuration) objects(t *testing.T, folder, output string) [][]string {
	t.Helper()
	outputs, err := c.blocks(folder, "output")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for _, b := range outputs {
		if b.Labels[0] != output {
			continue
		}
		hclsyntax.VisitAll(b.find("value"), func(node hclsyntax.Node) hcl.Diagnostics { //nolint:errcheck // visiting does not fail
			object, ok := node.(*hclsyntax.ObjectConsExpr)
			if !ok {
				return nil
			}
			var names []string
			for _, item := range object.Items {
				if key, diagnostics := item.KeyExpr.Value(nil); !diagnostics.HasErrors() {
					names = append(names, key.AsString())
				}
			}
			all = append(all, names)
			return nil
		})
	}
	return all
}
