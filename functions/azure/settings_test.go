package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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
issuers: [{url: "ISSUER", path: prod, clusters: [prod], internal: true}]
clusters: {directory: clusters/}
`

// packaged writes what a deploy adds to the package.
func packaged(t *testing.T, folder, publisher string, clusters ...enrollment.Cluster) {
	t.Helper()
	files := map[string][]byte{"publisher.yaml": []byte(publisher)}
	for _, c := range clusters {
		files["clusters/"+c.ID+".yaml"] = c.Encode()
	}
	for name, content := range files {
		file := filepath.Join(folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// What is wrong with the package or the environment is named, with the remedy.
func TestOpen(t *testing.T) {
	t.Parallel()
	publisher := strings.Replace(publisherYAML, "ISSUER", "https://account.blob.core.windows.net/documents/prod", 1)
	cluster := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{snapshottest.NewKey().Key}}
	good, empty, bad := t.TempDir(), t.TempDir(), t.TempDir()
	packaged(t, good, publisher, cluster)
	packaged(t, bad, publisher+"retention: 48h\n", cluster)
	environment := map[string]string{
		"DOCUMENTS_BUCKET": "https://account.blob.core.windows.net/documents", "PRIVATE_BUCKET": "https://account.blob.core.windows.net/private",
		"AZURE_CLIENT_ID": "7c3f8a52-9d10-4be5-8f8e-2a1f6f1f0c11", "IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token", "IDENTITY_HEADER": "secret",
	}
	for name, test := range map[string]struct {
		folder string
		change map[string]string
		want   string
		is     error
	}{
		"as it should be":     {folder: good},
		"the website":         {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "https://account.blob.core.windows.net/$web"}},
		"no buckets":          {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "", "PRIVATE_BUCKET": ""}, want: "DOCUMENTS_BUCKET is not set"},
		"one bucket for all":  {folder: good, change: map[string]string{"PRIVATE_BUCKET": "https://account.blob.core.windows.net/documents"}, want: "are both"},
		"a slash at the end":  {folder: good, change: map[string]string{"PRIVATE_BUCKET": "https://account.blob.core.windows.net/documents/"}, want: "PRIVATE_BUCKET: "},
		"a host in capitals":  {folder: good, change: map[string]string{"PRIVATE_BUCKET": "https://Account.blob.core.windows.net/documents"}, want: "PRIVATE_BUCKET: "},
		"an escaped name":     {folder: good, change: map[string]string{"PRIVATE_BUCKET": "https://account.blob.core.windows.net/document%73"}, want: "PRIVATE_BUCKET: "},
		"a name":              {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "documents"}, want: "https://ACCOUNT.blob.core.windows.net/CONTAINER"},
		"an account":          {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "https://account.blob.core.windows.net"}, want: "DOCUMENTS_BUCKET: "},
		"plain HTTP":          {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "http://account.blob.core.windows.net/documents"}, want: "DOCUMENTS_BUCKET: "},
		"a signature":         {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "https://account.blob.core.windows.net/documents?sig=secret"}, want: "nothing after it"},
		"no identity":         {folder: good, change: map[string]string{"AZURE_CLIENT_ID": ""}, want: "AZURE_CLIENT_ID is not set"},
		"not assigned":        {folder: good, change: map[string]string{"IDENTITY_ENDPOINT": ""}, want: "assign the one of AZURE_CLIENT_ID"},
		"half a door":         {folder: good, change: map[string]string{"OPERATORS": alice}, want: "OPERATOR_TENANT_ID"},
		"an empty package":    {folder: empty, want: "publisher.yaml and clusters/ beside the program"},
		"an unknown field":    {folder: bad, want: "publisher.yaml:6:", is: settings.ErrInvalid},
		"another's container": {folder: good, change: map[string]string{"DOCUMENTS_BUCKET": "https://account.blob.core.windows.net/a/b--c"}, want: "DOCUMENTS_BUCKET: "},
	} {
		getenv := func(name string) string {
			if value, ok := test.change[name]; ok {
				return value
			}
			return environment[name]
		}
		made, err := openIn(test.folder, getenv, slog.New(slog.NewJSONHandler(&bytes.Buffer{}, nil)))
		switch {
		case test.want == "" && (err != nil || made.publisher == nil || made.operators != nil):
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is)):
			t.Errorf("%s: %v, want %s", name, err, test.want)
		case err != nil && strings.Contains(err.Error(), "secret"):
			t.Errorf("%s: a secret is in the error: %v", name, err)
		}
	}
}

// Without the host there is nobody to answer.
func TestServeWithoutHost(t *testing.T) {
	t.Parallel()
	for _, port := range []string{"", "x", "-1", "70000", "80 "} {
		if err := serve(&app{logger: slog.New(slog.DiscardHandler)}, port); !errors.Is(err, errPort) {
			t.Errorf("the port %q: %v", port, err)
		}
	}
}

// TestApp: there is a folder for each function and a function for each folder, and what the alarms and the queue rely on is in host.json.
func TestApp(t *testing.T) {
	t.Parallel()
	folders := must(filepath.Glob("app/*/function.json"))
	for i, folder := range folders {
		folders[i] = filepath.Base(filepath.Dir(folder))
		if _, known := entries[folders[i]]; !known {
			t.Errorf("nobody answers for %s", folders[i])
		}
	}
	if len(folders) != len(entries) {
		t.Errorf("the folders are %q", folders)
	}
	var host struct {
		FunctionTimeout string
		CustomHandler   struct {
			Description                 struct{ DefaultExecutablePath string }
			EnableForwardingHTTPRequest bool
			EnableProxyingHTTPRequest   bool
		}
		Extensions struct {
			HTTP   struct{ RoutePrefix *string }
			Queues struct{ MessageEncoding string }
		}
		Logging struct {
			LogLevel            map[string]string
			ApplicationInsights struct{ SamplingSettings struct{ IsEnabled *bool } }
		}
	}
	if err := json.Unmarshal(must(os.ReadFile("app/host.json")), &host); err != nil {
		t.Fatal(err)
	}
	sampling := host.Logging.ApplicationInsights.SamplingSettings.IsEnabled
	switch {
	case host.CustomHandler.Description.DefaultExecutablePath != "handler":
		t.Error("the program is not the one that pack writes")
	case host.CustomHandler.EnableForwardingHTTPRequest || host.CustomHandler.EnableProxyingHTTPRequest:
		t.Error("requests are forwarded: a stranger's path would reach the program")
	case host.Extensions.HTTP.RoutePrefix == nil || *host.Extensions.HTTP.RoutePrefix != "":
		t.Error("the webhook is not at /v1/snapshots")
	case host.Extensions.Queues.MessageEncoding != "none":
		t.Error("a message that is not in base64 would go to the poison queue unseen")
	case sampling == nil || *sampling:
		t.Error("an event may be sampled away")
	case host.Logging.LogLevel["Host.Function.Console"] != "Information":
		t.Error("the program's lines are not logged")
	case host.FunctionTimeout != "00:02:00" || slices.Max([]float64{reconcileTimeout.Seconds(), operateTimeout.Seconds(), queueTimeout.Seconds()}) > 110:
		t.Error("the host may end the program before it gives up by itself")
	}
}
