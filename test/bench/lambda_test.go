package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
)

const module = "github.com/kube-iam-assume/kube-iam-assume/"

// What a cold start of the Lambda function takes on this machine, and how large its package is, beside the least function with the same
// SDK clients.
func BenchmarkLambda(b *testing.B) {
	functions := []struct{ name, source, event string }{
		{"hello", "test/bench/hello/aws", `{}`},
		{"publisher", "functions/aws", `{"version": "2.0", "rawPath": "/healthz", "requestContext": {"http": {"method": "GET", "sourceIp": "192.0.2.1"}}}`},
	}
	built := map[string]string{}
	for _, f := range functions {
		built[f.name] = packaged(b, f.source)
	}
	for _, f := range functions {
		b.Run("start-to-next/"+f.name, func(b *testing.B) {
			var total time.Duration
			for b.Loop() {
				host := lambda(b, built[f.name])
				total += host.Started()
				host.Stop()
			}
			b.ReportMetric(float64(total)/float64(b.N), "ns/op")
		})
	}
	for _, f := range functions {
		b.Run("start-to-first-answer/"+f.name, func(b *testing.B) {
			var total time.Duration
			for b.Loop() {
				host := lambda(b, built[f.name])
				begun := time.Now()
				if _, err := host.Invoke(b.Context(), []byte(f.event)); err != nil {
					b.Fatal(err)
				}
				total += host.Started() + time.Since(begun)
				host.Stop()
			}
			b.ReportMetric(float64(total)/float64(b.N), "ns/op")
		})
	}
	for _, f := range functions {
		b.Run("package/"+f.name, func(b *testing.B) {
			folder := b.TempDir()
			bootstrap, archive := filepath.Join(folder, "bootstrap"), filepath.Join(folder, "package.zip")
			build(b, bootstrap, f.source, "arm64")
			run(b, nil, "go", "run", module+"functions/pack", archive, bootstrap)
			for b.Loop() {
				b.ReportMetric(0, "ns/op") // none of it is a time
				b.ReportMetric(megabytes(b, bootstrap), "MB-binary")
				b.ReportMetric(megabytes(b, archive), "MB-zip")
			}
		})
	}
}

// packaged is a function's folder, for this machine, with settings beside it.
func packaged(b *testing.B, source string) string {
	b.Helper()
	folder := b.TempDir()
	build(b, filepath.Join(folder, "bootstrap"), source, runtime.GOARCH)
	enrolled := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: cluster.ServiceAccount, BootstrapKeys: jwks.Set{snapshottest.NewRSAKey().Key}}
	for name, content := range map[string]string{
		"prod.yaml": string(enrolled.Encode()),
		"publisher.yaml": `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "https://oidc.example.com/prod", clusters: [prod]}]
clusters: {directory: .}
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return folder
}

// build makes a function as it is deployed, save for the processor.
func build(b *testing.B, to, source, processor string) {
	b.Helper()
	run(b, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + processor}, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=",
		"-tags", "lambda.norpc", "-o", to, module+source)
}

func run(b *testing.B, env []string, name string, args ...string) {
	b.Helper()
	command := exec.CommandContext(b.Context(), name, args...)
	command.Env = append(os.Environ(), env...)
	if out, err := command.CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

func lambda(b *testing.B, folder string) *lambdahost.Host {
	b.Helper()
	return must(lambdahost.Start(b.Context(), lambdahost.Options{
		Bootstrap: filepath.Join(folder, "bootstrap"),
		Env: []string{
			"AWS_REGION=eu-central-1", "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=none", "AWS_SESSION_TOKEN=none",
			"DOCUMENTS_BUCKET=documents-bucket", "PRIVATE_BUCKET=private-bucket",
		},
	}))
}

func megabytes(b *testing.B, file string) float64 {
	b.Helper()
	return float64(must(os.Stat(file)).Size()) / 1e6
}
