package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const publisherYAML = `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "https://oidc.example.com/prod", clusters: [prod]}]
clusters: {directory: clusters/}
`

// packaged writes what stands beside the binary.
func packaged(t *testing.T, folder, publisher string, clusters ...enrollment.Cluster) {
	t.Helper()
	files := map[string][]byte{"publisher.yaml": []byte(publisher)}
	for _, c := range clusters {
		files["clusters/"+c.ID+".yaml"] = c.Encode()
	}
	for name, content := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What is wrong with the package or the environment is named, with the remedy.
func TestOpen(t *testing.T) {
	t.Parallel()
	cluster := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{snapshottest.NewKey().Key}}
	good, empty, bad := t.TempDir(), t.TempDir(), t.TempDir()
	packaged(t, good, publisherYAML, cluster)
	packaged(t, bad, publisherYAML+"retention: 48h\n", cluster)
	environment := map[string]string{
		"DOCUMENTS_BUCKET": "documents-bucket", "PRIVATE_BUCKET": "private-bucket", "AWS_REGION": "eu-central-1", "AWS_LAMBDA_LOG_FORMAT": "JSON", "LAMBDA_TASK_ROOT": good,
	}
	for name, test := range map[string]struct {
		change map[string]string
		want   string
		is     error
	}{
		"as it should be":     {},
		"no buckets":          {change: map[string]string{"DOCUMENTS_BUCKET": "", "PRIVATE_BUCKET": ""}, want: "DOCUMENTS_BUCKET is not set"},
		"no private bucket":   {change: map[string]string{"PRIVATE_BUCKET": ""}, want: "PRIVATE_BUCKET is not set: name the bucket of the state"},
		"one bucket for all":  {change: map[string]string{"PRIVATE_BUCKET": "documents-bucket"}, want: `both "documents-bucket"`},
		"no region":           {change: map[string]string{"AWS_REGION": ""}, want: "AWS_REGION is not set"},
		"text for logs":       {change: map[string]string{"AWS_LAMBDA_LOG_FORMAT": "Text"}, want: "LoggingConfig: {LogFormat: JSON}"},
		"an empty package":    {change: map[string]string{"LAMBDA_TASK_ROOT": empty}, want: "publisher.yaml and clusters/ beside the program"},
		"no package anywhere": {change: map[string]string{"LAMBDA_TASK_ROOT": ""}, want: "publisher.yaml and clusters/ beside the program"},
		"an unknown field":    {change: map[string]string{"LAMBDA_TASK_ROOT": bad}, want: "publisher.yaml:6:", is: settings.ErrInvalid},
	} {
		getenv := func(name string) string {
			if value, ok := test.change[name]; ok {
				return value
			}
			return environment[name]
		}
		log := &bytes.Buffer{}
		p, err := open(t.Context(), getenv, slog.New(slog.NewJSONHandler(log, nil)))
		switch {
		case test.want == "" && (err != nil || p == nil):
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is)):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}
