package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
)

// account is where the binary runs: its package, an S3 server, the world that reads the documents, and a CloudFormation.
type account struct {
	*testing.T
	bootstrap string
	env       []string
	documents bucket.Bucket
	world     *httptest.Server
	clouds    *httptest.Server
	key       snapshottest.Key
	exporter  *snapshottest.Exporter

	mu      sync.Mutex
	answers []map[string]any
}

func newAccount(t *testing.T) *account {
	t.Helper()
	a := &account{T: t, key: snapshottest.NewRSAKey(), bootstrap: filepath.Join(t.TempDir(), "bootstrap")}
	a.world = httptest.NewTLSServer(http.HandlerFunc(a.document))
	t.Cleanup(a.world.Close)
	a.clouds = httptest.NewTLSServer(http.HandlerFunc(a.collect))
	t.Cleanup(a.clouds.Close)
	a.exporter = snapshottest.Cluster{ID: "prod", Issuer: a.world.URL + "/prod", ServiceAccount: "a/b"}.NewExporter("p")

	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-tags", "lambda.norpc", "-o", a.bootstrap, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	folder := filepath.Dir(a.bootstrap)
	packaged(t, folder, `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Publisher
name: p
issuers: [{url: "`+a.exporter.Issuer+`", clusters: [prod], internal: true}]
clusters: {directory: clusters/}
`, enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{a.key.Key}})
	roots := filepath.Join(folder, "roots.pem") // both servers have the one certificate of httptest
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.world.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	server := aws.StartS3(t)
	for _, name := range []string{documentsBucket, privateBucket} {
		server.CreateBucket(t, name, true)
	}
	var err error
	if a.documents, err = s3.New(server.Client(), documentsBucket); err != nil {
		t.Fatal(err)
	}
	a.env = append(server.Environment(), "SSL_CERT_FILE="+roots, "DOCUMENTS_BUCKET="+documentsBucket, "PRIVATE_BUCKET="+privateBucket)
	return a
}

const (
	documentsBucket = "kube-iam-assume-documents"
	privateBucket   = "kube-iam-assume-private"
	jwksObject      = "prod/openid/v1/jwks"
)

func (a *account) start(env ...string) *lambdahost.Host {
	a.Helper()
	host, err := lambdahost.Start(a.Context(), lambdahost.Options{Bootstrap: a.bootstrap, Env: append(slices.Clone(a.env), env...)})
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(host.Stop)
	return host
}

// document is how the bucket's host answers the world.
func (a *account) document(w http.ResponseWriter, r *http.Request) {
	object, _, err := a.documents.Get(r.Context(), strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_, _ = w.Write(object.Body)
}

func (a *account) collect(_ http.ResponseWriter, r *http.Request) {
	var answer map[string]any
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		a.Errorf("CloudFormation was told: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers = append(a.answers, answer)
}

func (a *account) send(host http.Handler, contentType string, body []byte) (int, string) {
	a.Helper()
	request := httptest.NewRequestWithContext(a.Context(), http.MethodPost, "https://api.example.com/v1/snapshots", bytes.NewReader(body))
	request.Header.Set("Content-Type", contentType)
	response := httptest.NewRecorder()
	host.ServeHTTP(response, request)
	content, _ := io.ReadAll(response.Body)
	return response.Code, string(content)
}

func (a *account) invoke(host *lambdahost.Host, event any) string {
	a.Helper()
	answer, err := host.Invoke(a.Context(), encode(event))
	if err != nil {
		a.Fatalf("%v\n%s", err, host.Log())
	}
	return string(answer)
}

func (a *account) published() string {
	a.Helper()
	object, _, err := a.documents.Get(a.Context(), jwksObject)
	if err != nil {
		a.Fatal(err)
	}
	return string(object.Body)
}

// The binary that is deployed, behind Lambda's runtime API and on a real S3 server: every event in its own protocol.
func TestBinary(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	host := a.start()
	now, second := time.Now(), snapshottest.NewKey()
	poll := func(bodies ...string) []string {
		t.Helper()
		return returned(t, []byte(a.invoke(host, batch(bodies...))))
	}

	resource := map[string]any{
		"RequestType": "Create", "ResponseURL": a.clouds.URL + "/answer?X-Amz-Signature=secret", "StackId": "arn:stack", "RequestId": "q",
		"ResourceType": resourceType, "LogicalResourceId": "Documents",
		"ResourceProperties": map[string]any{"ServiceToken": "arn:function", "Settings": "5f", "Issuers": []string{a.exporter.Issuer}},
	}
	if answer := a.invoke(host, resource); answer != `{"status":"SUCCESS"}` || len(a.answers) != 1 || a.answers[0]["Status"] != "SUCCESS" {
		t.Fatalf("the deploy: %s, CloudFormation was told %v\n%s", answer, a.answers, host.Log())
	}
	if !strings.Contains(a.published(), a.key.ID()) {
		t.Error("the deploy succeeded before the enrolled key was published")
	}

	for _, contentType := range []string{"application/jose", "text/plain"} { // as base64, and as text
		if code, body := a.send(host, contentType, a.exporter.Send(now, []snapshottest.Key{a.key}, a.key)); code != http.StatusOK {
			t.Errorf("a snapshot as %s: %d %s", contentType, code, body)
		}
	}
	if code, body := a.send(host, "application/jose", []byte("junk")); code != http.StatusBadRequest || !strings.Contains(body, `"code":"malformed"`) {
		t.Errorf("junk: %d %s", code, body)
	}

	good := string(a.exporter.Send(now, []snapshottest.Key{a.key, second}, a.key))
	if failed := poll("poison", good, `{"reconcile":true}`, good); len(failed) > 0 {
		t.Errorf("back to the queue go %q", failed)
	}
	if !strings.Contains(a.published(), second.ID()) {
		t.Error("the snapshot between poisoned messages is not published")
	}

	published := a.published()
	object, version, err := a.documents.Get(t.Context(), jwksObject)
	if err != nil {
		t.Fatal(err)
	}
	object.Body = []byte(`{"keys":[]}`) // by somebody's hand
	if _, err := a.documents.Put(t.Context(), jwksObject, object, version); err != nil {
		t.Fatal(err)
	}
	if answer := a.invoke(host, `{"reconcile":true}`); answer != `{"status":"reconciled"}` || a.published() != published {
		t.Errorf("%s; published is %s", answer, a.published())
	}

	statement := map[string]any{
		"issuer": a.exporter.Issuer, "cluster": "prod", "action": "revoke", "keyIDs": []string{second.ID()}, "reason": "stolen",
	}
	if plan := a.invoke(host, map[string]any{"statement": statement, "dryRun": true}); !strings.Contains(plan, `"key.revoked"`) || a.published() != published {
		t.Errorf("the plan: %s", plan)
	}
	if answer := a.invoke(host, map[string]any{"statement": statement}); !strings.Contains(answer, `"status":"accepted"`) || strings.Contains(a.published(), second.ID()) {
		t.Errorf("the statement: %s; published is %s", answer, a.published())
	}
	resource["RequestType"], resource["PhysicalResourceId"] = "Update", "arn:stack/Documents"
	if a.invoke(host, resource); len(a.answers) != 2 || a.answers[1]["Status"] != "SUCCESS" || strings.Contains(a.published(), second.ID()) {
		t.Errorf("the update: %v", a.answers)
	}
	a.checkLog(host.Log())
}

// checkLog holds every line to what the alarms are made from, and to what must not be in it.
func (a *account) checkLog(log string) {
	a.Helper()
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		var entry struct{ Event, RequestID, Timestamp, Level, Message string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Event == "" || entry.Timestamp == "" || entry.RequestID == "" && entry.Event != "settings.warning" {
			a.Errorf("a line of the log: %v: %s", err, line)
		}
		seen[entry.Event] = true
	}
	for _, event := range []string{"snapshot.accepted", "request.rejected", "key.added", "key.revoked", "document.written", "document.repaired", "statement.accepted"} {
		if !seen[event] {
			a.Errorf("the log has no %s:\n%s", event, log)
		}
	}
	for _, secret := range []string{"secret", "eyJ"} {
		if strings.Contains(log, secret) {
			a.Errorf("the log has %q:\n%s", secret, log)
		}
	}
}

// What the function is not allowed, or does not have, it names.
func TestBinaryWithout(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	for name, test := range map[string]struct {
		env  []string
		want []string
	}{
		"its variables":   {[]string{"PRIVATE_BUCKET="}, []string{"PRIVATE_BUCKET is not set"}},
		"its buckets":     {[]string{"PRIVATE_BUCKET=kube-iam-assume-nowhere"}, []string{"kube-iam-assume-nowhere"}},
		"its credentials": {[]string{"AWS_SECRET_ACCESS_KEY=nothing"}, []string{"s3://" + privateBucket, "SignatureDoesNotMatch"}},
	} {
		t.Run(name, func(t *testing.T) {
			host := a.start(test.env...)
			_, err := host.Invoke(t.Context(), []byte(`{"reconcile":true}`))
			var failure *lambdahost.FunctionError
			if !errors.As(err, &failure) {
				t.Fatalf("%v\n%s", err, host.Log())
			}
			for _, want := range test.want {
				if !strings.Contains(failure.Message, want) {
					t.Errorf("%s, want %s", failure.Message, want)
				}
			}
		})
	}
}
