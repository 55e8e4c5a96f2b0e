package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const sourceFolder = "serverless_function_source_code" // where the buildpack moves what was deployed

// generated is a main as the buildpack writes one.
const generated = `package main

import (
	"log"
	"os"

	"github.com/GoogleCloudPlatform/functions-framework-go/funcframework"

	_ "` + module + `"
)

func main() {
	if err := funcframework.StartHostPort("127.0.0.1", os.Getenv("PORT")); err != nil {
		log.Fatal(err)
	}
}
`

// What the buildpack makes of the package works: it finds its settings, and opens one door only.
func TestSource(t *testing.T) {
	t.Parallel()
	workspace := t.TempDir()
	source := filepath.Join(workspace, sourceFolder)
	unpack(t, source)
	key := snapshottest.NewKey()
	enrolled := enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{key.Key}}
	write(t, filepath.Join(source, "clusters/prod.yaml"), enrolled.Encode())
	write(t, filepath.Join(source, "publisher.yaml"), []byte(`apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "https://oidc.example.com/prod", clusters: [prod]}]
clusters: {directory: clusters/}
`))
	write(t, filepath.Join(source, "functions.local/app/main.go"), []byte(generated))
	binary := filepath.Join(workspace, "main")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "./functions.local/app")
	build.Dir, build.Env = source, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off", "PWD="+source)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	storage := gcp.StartStorage(t)
	for _, name := range []string{"documents", "private"} {
		storage.CreateBucket(t, name, true)
	}
	start := func(target string) string {
		t.Helper()
		port, err := process.FreePort("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		url := fmt.Sprintf("http://127.0.0.1:%d", port)
		p, err := process.Start(process.Program{
			Name: target, Binary: binary, Log: filepath.Join(workspace, target+".log"), Environment: append(storage.Environment(),
				"FUNCTION_TARGET="+target, fmt.Sprintf("PORT=%d", port), "DOCUMENTS_BUCKET=documents", "PRIVATE_BUCKET=private"),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := p.WaitUntil(ctx, "serving", func(context.Context) error { _, err := post(url + "/healthz"); return err }); err != nil {
			t.Fatal(err)
		}
		return url
	}
	if answer, err := post(start("Reconcile")); err != nil || answer != `200 OK {"status":"reconciled"}` {
		t.Errorf("Reconcile: %s, %v", answer, err)
	}
	everything := start("")
	for _, door := range []string{"Webhook", "Queue", "Reconcile", "Operate"} {
		if answer, err := post(everything + "/" + door); err != nil || !strings.HasPrefix(answer, "404 ") {
			t.Errorf("%s without FUNCTION_TARGET: %s, %v", door, answer, err)
		}
	}
}

func post(url string) (string, error) {
	response, err := http.Post(url, "", nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.Status + " " + string(body), err
}

// unpack makes the package twice and unpacks it.
func unpack(t *testing.T, folder string) {
	t.Helper()
	var made [2][]byte
	for i := range made {
		name := filepath.Join(t.TempDir(), "source.zip")
		if err := create(name); err != nil {
			t.Fatal(err)
		}
		var err error
		if made[i], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("two packages of one source differ")
	}
	archive, err := zip.NewReader(bytes.NewReader(made[0]), int64(len(made[0])))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.File {
		in, err := file.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil || strings.HasSuffix(file.Name, "_test.go") || strings.HasPrefix(file.Name, "test/") {
			t.Fatalf("%s: %v", file.Name, err)
		}
		write(t, filepath.Join(folder, file.Name), content)
	}
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
