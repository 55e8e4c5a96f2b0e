package bench

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// What a cold start of the functions on Google Cloud and Azure takes on this machine, to the first answer over HTTP, beside the least
// function with the same framework and clients; and how large the programs are.
func BenchmarkGoogleFunction(b *testing.B) {
	coldStarts(b, "gcp", "/healthz", func(port string) []string {
		return []string{
			"FUNCTION_TARGET=Webhook", "LOCAL_ONLY=true", "PORT=" + port, "GOOGLE_CLOUD_PROJECT=acme", "STORAGE_EMULATOR_HOST=127.0.0.1:1",
			"DOCUMENTS_BUCKET=documents-bucket", "PRIVATE_BUCKET=private-bucket",
		}
	})
}

func BenchmarkAzureFunction(b *testing.B) {
	coldStarts(b, "azure", "/", func(port string) []string {
		return []string{
			"FUNCTIONS_CUSTOMHANDLER_PORT=" + port, "AZURE_CLIENT_ID=00000000-0000-0000-0000-000000000001",
			"IDENTITY_ENDPOINT=http://127.0.0.1:1/msi/token", "IDENTITY_HEADER=none",
			"DOCUMENTS_BUCKET=https://account.blob.core.windows.net/documents", "PRIVATE_BUCKET=https://account.blob.core.windows.net/private",
		}
	})
}

func coldStarts(b *testing.B, cloud, path string, environment func(port string) []string) {
	b.Helper()
	for _, f := range []struct{ name, source string }{{"hello", "test/bench/hello/" + cloud}, {"publisher", "functions/" + cloud}} {
		folder := packaged(b, f.source)
		binary := filepath.Join(folder, "bootstrap")
		b.Run("start-to-first-answer/"+f.name, func(b *testing.B) {
			var total time.Duration
			for b.Loop() {
				port := strconv.Itoa(must(process.FreePort("127.0.0.1")))
				total += firstAnswer(b, binary, "http://127.0.0.1:"+port+path, environment(port))
			}
			b.ReportMetric(float64(total)/float64(b.N), "ns/op")
		})
		b.Run("program/"+f.name, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(0, "ns/op") // none of it is a time
				b.ReportMetric(megabytes(b, binary), "MB-"+runtime.GOARCH)
			}
		})
	}
}

// firstAnswer starts a program and asks it until it answers.
func firstAnswer(b *testing.B, binary, url string, environment []string) time.Duration {
	b.Helper()
	command := exec.CommandContext(b.Context(), binary)
	command.Dir, command.Env, command.SysProcAttr = filepath.Dir(binary), environment, process.EndWithParent()
	log := must(os.CreateTemp(b.TempDir(), "log"))
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	begun := time.Now()
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = command.Process.Kill(); _ = command.Wait() }()
	for {
		response, err := http.Get(url)
		took := time.Since(begun)
		switch {
		case err == nil && response.StatusCode < http.StatusInternalServerError:
			response.Body.Close()
			return took
		case err == nil || took > time.Minute:
			b.Fatalf("no answer after %v: %v\n%s", took, err, must(os.ReadFile(log.Name())))
		}
		time.Sleep(200 * time.Microsecond)
	}
}
