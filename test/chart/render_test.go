package chart_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart"
)

// Every example is linted, rendered, valid to the letter, and understood by the programs it is for.
func TestExamples(t *testing.T) {
	t.Parallel()
	swagger, err := chart.ReadSwagger()
	if err != nil {
		t.Fatal(err)
	}
	for _, example := range examples(t) {
		t.Run(filepath.Base(example), func(t *testing.T) {
			t.Parallel()
			helm(t, "lint", "--strict", "--namespace", namespace, "--values", example, folder)
			all := render(t, "--values", example)
			validate(t, swagger, all)
			checkNames(t, all)
			if filepath.Base(example) == "publisher.yaml" {
				checkPublisherSettings(t, all)
				return
			}
			settings := exporterSettings(t, all)
			checkTokens(t, all, settings)
		})
	}
}

// validate has kubeconform judge the manifests by strict schemas.
func validate(t *testing.T, swagger chart.Swagger, all manifests) {
	t.Helper()
	schemas, file := t.TempDir(), filepath.Join(t.TempDir(), "manifests.json")
	var text strings.Builder
	for _, object := range all {
		if strings.HasPrefix(object.GetAPIVersion(), "monitoring.coreos.com/") {
			continue // not Kubernetes' own: the API server judges them, see takesExamples
		}
		if err := swagger.Write(schemas, object.GetAPIVersion(), object.GetKind()); err != nil {
			t.Error(err)
		}
		data, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString("---\n" + string(data))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, problems, err := tool(t, "kubeconform", "-strict", "-schema-location", chart.SchemaLocation(schemas), file); err != nil {
		t.Errorf("%v\n%s%s", err, out, problems)
	}
}

// The judge sees a misspelt field, a wrong type and a missing one.
func TestValidatorSeesMistakes(t *testing.T) {
	t.Parallel()
	swagger, err := chart.ReadSwagger()
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},
"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":1}},"livenessProbe":{"httpGet":{"port":"metrics"}}}]}}}}`
	for from, to := range map[string]string{
		"": "", `"containers"`: `"containrs"`, `"replicas":2`: `"replicas":"two"`, `"name":"c",`: "", `"port":"metrics"`: `"port":[]`, `"matchLabels":{"a":"b"}`: `"matchLabels":{"a":1}`,
	} {
		schemas, file := t.TempDir(), filepath.Join(t.TempDir(), "manifest.json")
		if err := swagger.Write(schemas, "apps/v1", "Deployment"); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(good, from, to, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, _, err := tool(t, "kubeconform", "-strict", "-schema-location", chart.SchemaLocation(schemas), file); (err == nil) != (from == "") {
			t.Errorf("%s → %s: %v %s", from, to, err, out)
		}
	}
	if err := swagger.Write(t.TempDir(), "apps/v1", "Deploymnt"); err == nil {
		t.Error("a kind that there is not has a schema")
	}
}

// checkNames: nothing is left to the namespace somebody's kubectl is in.
func checkNames(t *testing.T, all manifests) {
	t.Helper()
	for _, object := range all {
		where := []string{namespace}
		switch object.GetKind() {
		case "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding":
			where = []string{""}
		case "Role", "RoleBinding":
			where = append(where, "default")
		}
		if !slices.Contains(where, object.GetNamespace()) {
			t.Errorf("%s %s is in namespace %q", object.GetKind(), object.GetName(), object.GetNamespace())
		}
	}
}

func exporterSettings(t *testing.T, all manifests) exporter.Settings {
	t.Helper()
	text := as[core.ConfigMap](t, all, "ConfigMap", account).Data["exporter.yaml"]
	settings, err := exporter.ParseSettings("exporter.yaml", []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if settings.ServiceAccount != namespace+"/"+account {
		t.Errorf("serviceAccount is %s", settings.ServiceAccount)
	}
	return settings
}

// checkTokens: each queue has its own token, for its cloud alone, and a webhook has none.
func checkTokens(t *testing.T, all manifests, settings exporter.Settings) {
	t.Helper()
	want := map[string]string{} // file → audience
	for _, d := range settings.Destinations {
		if d.SQS != nil {
			want[fileOr(d.SQS.TokenFile, "sqs")] = "sts.amazonaws.com"
		}
		if d.PubSub != nil {
			want[fileOr(d.PubSub.TokenFile, "pubsub")] = "https://iam.googleapis.com/" + d.PubSub.Provider
		}
		if q := d.StorageQueue; q != nil {
			want[fileOr(q.TokenFile, "storage-queue")] = "api://AzureADTokenExchange"
			if strings.Contains(q.URL, "usgov") {
				want[fileOr(q.TokenFile, "storage-queue")] += "USGov"
			}
		}
	}
	spec := as[apps.Deployment](t, all, "Deployment", account).Spec.Template.Spec
	for _, mount := range spec.Containers[0].VolumeMounts {
		for _, volume := range spec.Volumes {
			if volume.Name != mount.Name || volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				token := source.ServiceAccountToken
				if token == nil {
					continue
				}
				file := mount.MountPath + "/" + token.Path
				if volume.Name == "api-token" {
					if token.Audience != "" || *token.ExpirationSeconds != 600 || file != "/var/run/secrets/kubernetes.io/serviceaccount/token" {
						t.Errorf("the API token is %+v at %s", token, file)
					}
					continue
				}
				if want[file] != token.Audience {
					t.Errorf("the token at %s is for %q, want %q", file, token.Audience, want[file])
				}
				delete(want, file)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("no tokens for %v", want)
	}
}

func fileOr(file, kind string) string {
	if file != "" {
		return file
	}
	return "/var/run/secrets/kube-iam-assume/" + kind + "/token"
}

func checkPublisherSettings(t *testing.T, all manifests) {
	t.Helper()
	data := as[core.ConfigMap](t, all, "ConfigMap", "publisher").Data
	at := t.TempDir()
	for _, source := range as[apps.Deployment](t, all, "Deployment", "publisher").Spec.Template.Spec.Volumes[0].Projected.Sources {
		for _, item := range source.ConfigMap.Items {
			file := filepath.Join(at, item.Path)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(data[item.Key]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings, err := enrollment.Load(filepath.Join(at, "publisher.yaml"))
	if err != nil {
		t.Fatalf("%v\n%v", err, data)
	}
	if len(settings.Issuers) != 1 || len(settings.Issuers[0].Clusters) != 1 {
		t.Errorf("%+v", settings)
	}
}

// What changes in the settings changes the pods, and nothing else does.
func TestChecksum(t *testing.T) {
	t.Parallel()
	sum := func(arguments ...string) string {
		all := render(t, append([]string{"--values", folder + "/examples/webhook.yaml"}, arguments...)...)
		return as[apps.Deployment](t, all, "Deployment", account).Spec.Template.Annotations["checksum/settings"]
	}
	before := sum()
	if sum("--set", "exporter.replicas=3") != before {
		t.Error("more replicas restart those that there are")
	}
	for _, change := range []string{"cluster=other", "pollInterval=5s", "proxy=http://proxy:3128", "caBundle.pem=-----BEGIN CERTIFICATE-----"} {
		if sum("--set", change) == before {
			t.Errorf("%s does not restart the pods", change)
		}
	}
}

// OpenShift says as whom pods run.
func TestOpenShift(t *testing.T) {
	t.Parallel()
	all := render(t, "--values", folder+"/examples/webhook.yaml", "--api-versions", "security.openshift.io/v1")
	context := as[apps.Deployment](t, all, "Deployment", account).Spec.Template.Spec.SecurityContext
	if context.RunAsUser != nil || context.FSGroup != nil || context.RunAsNonRoot == nil || !*context.RunAsNonRoot {
		t.Errorf("%+v", context)
	}
}
