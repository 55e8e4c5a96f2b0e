package terraform_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// examples are the YAML documents of a page as JSON.
func examples(t *testing.T, page string) (all []map[string]json.RawMessage) {
	t.Helper()
	for _, match := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(documents(t, page), -1) {
		for decoder := yaml.NewDecoder(strings.NewReader(match[1])); ; {
			var document map[string]any
			err := decoder.Decode(&document)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("docs/%s.md: %v\n%s", page, err, match[1])
			}
			fields := map[string]json.RawMessage{}
			for name, value := range document {
				if fields[name], err = json.Marshal(value); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, fields)
		}
	}
	return all
}

// with is an example with the fields that every such file has. JSON is YAML.
func with(t *testing.T, example map[string]json.RawMessage, common map[string]any) []byte {
	t.Helper()
	whole := map[string]any{"apiVersion": settings.APIVersion}
	for name, value := range common {
		whole[name] = value
	}
	for name, value := range example {
		whole[name] = value
	}
	data, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The exporter takes the destinations of the documentation, of every kind of queue beside a webhook.
func TestExampleDestinations(t *testing.T) {
	t.Parallel()
	var kinds []string
	for _, example := range examples(t, "multi-cloud") {
		if example["destinations"] == nil {
			continue
		}
		s, err := exporter.ParseSettings("multi-cloud.md", with(t, example, map[string]any{"kind": "Exporter", "cluster": "prod-eu1", "issuer": "https://oidc.example.com/prod-eu1"}))
		if err != nil {
			t.Error(err)
		}
		for _, d := range s.Destinations {
			switch {
			case d.Webhook == nil:
				t.Errorf("%s has no webhook, which the text calls for", d.Publisher)
			case d.PubSub != nil:
				kinds = append(kinds, "pubsub")
			case d.StorageQueue != nil:
				kinds = append(kinds, "storageQueue")
			}
		}
	}
	if !slices.Equal(kinds, []string{"pubsub", "storageQueue"}) {
		t.Errorf("queues: %q", kinds)
	}
}

// A publisher takes the issuers of the documentation; primary and mirror look at each other.
func TestExampleIssuers(t *testing.T) {
	t.Parallel()
	cluster, err := os.ReadFile("clusters/testdata/clusters/prod-eu1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var mirrors, served []string
	private := 0
	for _, example := range examples(t, "multi-cloud") {
		if example["issuers"] == nil {
			continue
		}
		publisher, err := enrollment.LoadFS(fstest.MapFS{
			"publisher.yaml":         &fstest.MapFile{Data: with(t, example, map[string]any{"kind": "Publisher", "name": "prod", "clusters": map[string]string{"directory": "clusters"}})},
			"clusters/prod-eu1.yaml": &fstest.MapFile{Data: cluster},
		}, "publisher.yaml")
		if err != nil {
			t.Error(err)
		}
		for _, issuer := range publisher.Issuers {
			mirrors = append(mirrors, issuer.Mirrors...)
			if issuer.ServedAt != "" {
				served = append(served, issuer.ServedAt)
			}
			if issuer.Private {
				private++
			}
		}
	}
	if len(served) != 1 || !slices.Equal(mirrors, served) || private != 1 {
		t.Errorf("mirrors %q are looked for, at %q are some; %d private", mirrors, served, private)
	}
}

// What a pod has in its environment are files that are mounted there, each with a token for the cloud that reads it.
func TestExamplePods(t *testing.T) {
	t.Parallel()
	ofGoogle := regexp.MustCompile(`credential_source += \{ file = "([^"]+)"`).FindStringSubmatch(load(t)["gcp/trust/outputs.tf"])
	if ofGoogle == nil {
		t.Fatal("the output credentials names no file")
	}
	for page, tokens := range map[string]int{"gcp": 1, "azure": 1, "multi-cloud": 3} {
		found, file, audience := 0, ofGoogle[1], ""
		for _, example := range examples(t, page) {
			if example["data"] != nil {
				file, audience = googleLogin(t, example["data"])
			}
			if example["spec"] == nil {
				continue
			}
			var spec corev1.PodSpec
			decoder := json.NewDecoder(bytes.NewReader(example["spec"]))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(&spec); err != nil {
				t.Errorf("docs/%s.md: %v", page, err)
				continue
			}
			audiences := audiencesOf(spec)
			for _, variable := range spec.Containers[0].Env {
				var want string
				switch variable.Name {
				case "AWS_WEB_IDENTITY_TOKEN_FILE":
					want = "sts.amazonaws.com"
				case "AZURE_FEDERATED_TOKEN_FILE":
					want = "api://AzureADTokenExchange"
				case "GOOGLE_APPLICATION_CREDENTIALS":
					variable.Value, want = file, "https://iam.googleapis.com/projects/"
				default:
					continue
				}
				found++
				if got := audiences[variable.Value]; got == "" || !strings.HasPrefix(got, want) || want != got && !strings.HasSuffix(got, audience) {
					t.Errorf("docs/%s.md: %s: the token at %s is for %q, want %s", page, variable.Name, variable.Value, got, want)
				}
			}
		}
		if found != tokens {
			t.Errorf("docs/%s.md: %d tokens, want %d", page, found, tokens)
		}
	}
}

// googleLogin is where a login file looks for the token, and what that must be for.
func googleLogin(t *testing.T, data json.RawMessage) (file, audience string) {
	t.Helper()
	var configMap map[string]string
	if err := json.Unmarshal(data, &configMap); err != nil {
		t.Fatal(err)
	}
	var login struct {
		Audience string
		Source   struct{ File string } `json:"credential_source"`
	}
	if err := json.Unmarshal([]byte(configMap["config.json"]), &login); err != nil || login.Audience == "" {
		t.Fatalf("%v: %q", err, configMap)
	}
	return login.Source.File, login.Audience
}

// audiencesOf are those of a pod's projected tokens by their paths in its first container.
func audiencesOf(spec corev1.PodSpec) map[string]string {
	all := map[string]string{}
	for _, mount := range spec.Containers[0].VolumeMounts {
		for _, volume := range spec.Volumes {
			if volume.Name != mount.Name || volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if token := source.ServiceAccountToken; token != nil {
					all[path.Join(mount.MountPath, token.Path)] = token.Audience
				}
			}
		}
	}
	return all
}
