package location_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/history"
	"github.com/kube-iam-assume/kube-iam-assume/cli/location"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
)

const issuer = "https://oidc.example.com/prod"

// clouds make a private bucket, and return it as its publisher has it and the text by which people name it.
var clouds = map[string]func(t *testing.T) (private bucket.Bucket, text string){
	"s3": func(t *testing.T) (bucket.Bucket, string) {
		t.Helper()
		server := aws.StartS3(t)
		server.CreateBucket(t, "private", false)
		environment(t, server.Environment())
		t.Setenv("AWS_REGION", "") // which the text has
		private, err := s3.New(server.Client(), "private")
		must(t, err)
		return private, "s3://private?region=" + aws.Region
	},
	"gcs": func(t *testing.T) (bucket.Bucket, string) {
		t.Helper()
		server := gcp.StartStorage(t)
		server.CreateBucket(t, "private", false)
		environment(t, server.Environment())
		private, err := gcs.New(server.Client, "private")
		must(t, err)
		return private, "gs://private"
	},
	"azblob": func(t *testing.T) (bucket.Bucket, string) {
		t.Helper()
		server := azure.StartStorage(t)
		environment(t, server.Environment())
		url := server.CreateContainer(t, "private", false)
		private, err := azblob.New(server.Container(t, "private"))
		must(t, err)
		return private, url
	},
}

func environment(t *testing.T, variables []string) {
	t.Helper()
	for _, variable := range variables {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What a publisher wrote into a cloud's bucket is read there, and verified, with the credentials that the cloud's own tools use.
func TestClouds(t *testing.T) {
	for name, start := range clouds {
		t.Run(name, func(t *testing.T) {
			private, text := start(t)
			key := snapshottest.NewKey()
			p, err := publish.New(publish.Config{Documents: memory.New(memory.UniqueVersions), Private: private, Settings: enrollment.Publisher{Name: "p", Issuers: []enrollment.Issuer{{
				URL: issuer, Path: "prod", Retention: 48 * time.Hour,
				Clusters: []enrollment.Cluster{{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{key.Key}}},
			}}}})
			must(t, err)
			exporter := snapshottest.Cluster{ID: "prod", Issuer: issuer, ServiceAccount: "a/b"}.NewExporter("p")
			for _, keys := range [][]snapshottest.Key{{key}, {key, snapshottest.NewKey()}} {
				_, err = p.Accept(t.Context(), exporter.Send(time.Now(), keys, key))
				must(t, err)
			}
			from, err := location.Open(t.Context(), text)
			must(t, err)
			report, err := history.ReadBucket(t.Context(), from, issuer)
			must(t, err)
			if log := report.Logs[0]; log.Issuer != issuer || len(log.Records) != 2 || len(log.Problems) != 0 || len(log.Notes) != 0 && !strings.Contains(log.Notes[0], "not written yet") {
				t.Errorf("%+v", log)
			}
			if _, err := history.ReadBucket(t.Context(), from, issuer+"-2"); !errors.Is(err, history.ErrNoLog) {
				t.Errorf("another issuer: %v", err)
			}
			if _, writes := from.(bucket.Bucket); writes {
				t.Error("it can write")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			elsewhere, err := location.Open(ctx, strings.Replace(text, "private", "elsewhere", 1))
			must(t, err)
			if _, err := history.ReadBucket(ctx, elsewhere, issuer); err == nil || errors.Is(err, history.ErrNoLog) {
				t.Errorf("a bucket that is not there: %v", err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"/var/lib/kube-iam-assume": true, "data": true, "s3://private": true, "s3://private?region=eu-central-1": true, "gs://private": true,
		"https://account.blob.core.windows.net/private": true,
		"": false, "s3://": false, "s3://private/": false, "s3://private/log": false, "s3://private?region=": false, "s3://private?x=y": false, "s3://u:p@private": false,
		"gs://private/x": false, "gs://private?region=x": false, "http://account.blob.core.windows.net/private": false,
		"https://account.blob.core.windows.net": false, "https://account.blob.core.windows.net/private?sv=2024&sig=secret": false, "file:///x": false,
		"https://account.z1.blob.storage.azure.net/private": true, "https://account.blob.core.windows.net.evil.example/private": false, "https://evil.example/private": false,
		"https://evilblob.core.windows.net/private": false, "https://account.blob.core.windows.net:8443/private": false, "s3://%zz": false,
	} {
		err := location.Check(text)
		if good != (err == nil) || err != nil && (!errors.Is(err, location.ErrPlace) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Setenv("AWS_REGION", "")
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	for text, want := range map[string]string{
		t.TempDir(): "holds no publisher's data", "s3://private": "its region is not known", "s3://No_Bucket?region=x": "want 3 to 63", "https://a.blob.core.windows.net/-": "want 3 to 63", "ftp://x": "want a directory",
	} {
		if _, err := location.Open(t.Context(), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
