package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

// Swagger is Kubernetes' description of its API, of the release that the tests run against.
type Swagger struct {
	Definitions map[string]map[string]any `json:"definitions"`
}

// ReadSwagger finds the description beside the source of the API server that the tests build.
func ReadSwagger() (Swagger, error) {
	release, err := fromsource.ChosenKubernetes()
	if err != nil {
		return Swagger{}, err
	}
	folder, err := fromsource.Download(release.Module, "k8s.io/kubernetes")
	if err != nil {
		return Swagger{}, err
	}
	data, err := os.ReadFile(filepath.Join(folder, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return Swagger{}, fmt.Errorf("read Kubernetes' API description: %w", err)
	}
	var s Swagger
	return s, json.Unmarshal(data, &s)
}

// OperatorResources are the files in which the Prometheus operator defines its kinds.
func OperatorResources() ([]string, error) {
	folder, err := fromsource.Download("test/chart/crds", "github.com/prometheus-operator/prometheus-operator")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, kind := range []string{"podmonitors", "servicemonitors", "prometheusrules"} {
		files = append(files, filepath.Join(folder, "example", "prometheus-operator-crd", "monitoring.coreos.com_"+kind+".yaml"))
	}
	return files, nil
}

// Write makes the JSON Schema of one kind in a folder, under the name kubeconform looks for. It is strict: what Kubernetes does not know is
// refused, where the API server would drop it.
func (s Swagger) Write(folder, apiVersion, kind string) error {
	name, err := s.find(apiVersion, kind)
	if err != nil {
		return err
	}
	needed := map[string]any{}
	s.collect(name, needed)
	data, err := json.Marshal(map[string]any{"$ref": reference(name), "definitions": needed})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, SchemaFile(apiVersion, kind)), data, 0o600)
}

// SchemaFile is what SchemaLocation makes of a kind.
func SchemaFile(apiVersion, kind string) string {
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		return strings.ToLower(kind) + "-" + apiVersion + ".json"
	}
	group, _, _ = strings.Cut(group, ".")
	return strings.ToLower(kind + "-" + group + "-" + version + ".json")
}

// SchemaLocation is kubeconform's pattern for a folder.
func SchemaLocation(folder string) string {
	return folder + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"
}

func (s Swagger) find(apiVersion, kind string) (string, error) {
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		group, version = "", apiVersion
	}
	for name, definition := range s.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			is, _ := k.(map[string]any)
			if len(kinds) == 1 && is["group"] == group && is["version"] == version && is["kind"] == kind {
				return name, nil
			}
		}
	}
	return "", fmt.Errorf("Kubernetes has no kind %s in %s", kind, apiVersion) //nolint:staticcheck // a name
}

// collect adds a definition and all it refers to.
func (s Swagger) collect(name string, needed map[string]any) {
	if _, done := needed[name]; done {
		return
	}
	needed[name] = nil // while it is being made: some refer to themselves
	needed[name] = s.strict(s.Definitions[name], needed)
}

// strict turns a schema of OpenAPI 2 into one of JSON Schema that allows nothing besides.
func (s Swagger) strict(schema map[string]any, needed map[string]any) map[string]any {
	made := maps.Clone(schema)
	delete(made, "description")
	if made["format"] == "int-or-string" {
		return map[string]any{"type": []string{"string", "integer"}}
	}
	if ref, ok := made["$ref"].(string); ok {
		name := strings.TrimPrefix(ref, "#/definitions/")
		if strings.HasSuffix(name, ".resource.Quantity") {
			return map[string]any{"type": []string{"string", "number"}}
		}
		s.collect(name, needed)
		return map[string]any{"$ref": reference(name)}
	}
	for _, field := range []string{"items", "additionalProperties"} {
		if inner, ok := made[field].(map[string]any); ok {
			made[field] = s.strict(inner, needed)
		}
	}
	if properties, ok := made["properties"].(map[string]any); ok {
		all := map[string]any{}
		for name, property := range properties {
			inner, _ := property.(map[string]any)
			all[name] = s.strict(inner, needed)
		}
		made["properties"] = all
		if made["additionalProperties"] == nil {
			made["additionalProperties"] = false
		}
	}
	return made
}

func reference(name string) string { return "#/definitions/" + name }
