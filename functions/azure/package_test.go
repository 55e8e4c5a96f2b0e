package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/functionshost"
)

const jwksBlob = "prod/openid/v1/jwks"

// subscription is where the package runs: behind the mini host, in a storage account, which is also where the world reads the documents.
type subscription struct {
	*testing.T
	storage   *azure.Storage
	entra     *entra
	settings  map[string]string
	folder    string
	documents bucket.Bucket
	key       snapshottest.Key
	exporter  *snapshottest.Exporter
}

func newSubscription(t *testing.T) *subscription {
	t.Helper()
	s := &subscription{T: t, storage: azure.StartStorage(t), entra: newEntra(t), folder: functionshost.Build(t), key: snapshottest.NewRSAKey()}
	documents, private := s.storage.CreateContainer(t, "documents", true), s.storage.CreateContainer(t, "private", false)
	s.storage.CreateQueue(t, "snapshots")
	s.documents = must(azblob.New(s.storage.Container(t, "documents")))
	s.exporter = snapshottest.Cluster{ID: "prod", Issuer: documents + "/prod", ServiceAccount: "a/b"}.NewExporter("p")
	packaged(t, s.folder, strings.Replace(publisherYAML, "ISSUER", s.exporter.Issuer, 1),
		enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: "a/b", BootstrapKeys: jwks.Set{s.key.Key}})
	s.settings = map[string]string{
		"DOCUMENTS_BUCKET": documents, "PRIVATE_BUCKET": private, "SNAPSHOTS_QUEUE": "snapshots",
		"SNAPSHOTS_STORAGE__queueServiceUri": s.storage.QueueURL, "SNAPSHOTS_STORAGE__credential": "managedidentity",
		"SNAPSHOTS_STORAGE__clientId": s.storage.Identity.ClientID, "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "131072",
	}
	for name, value := range s.entra.environment() {
		s.settings[name] = value
	}
	for _, variable := range s.storage.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		s.settings[name] = value
	}
	s.settings["SSL_CERT_FILE"] = s.roots()
	return s
}

// roots are the authorities of storage and Entra.
func (s *subscription) roots() string {
	server := httptest.NewTLSServer(nil) // has the certificate of all
	defer server.Close()
	file := filepath.Join(s.TempDir(), "roots.pem")
	all := append(must(os.ReadFile(s.storage.CAFile)), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})...)
	if err := os.WriteFile(file, all, 0o600); err != nil {
		s.Fatal(err)
	}
	return file
}

func (s *subscription) start() *functionshost.Host {
	s.Helper()
	host, err := functionshost.Start(s.Context(), functionshost.Options{
		Package: s.folder, Settings: s.settings, Client: s.storage.HTTPClient(), RetryAfter: time.Second,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(host.Stop)
	return host
}

func (s *subscription) send(host http.Handler, method, path string, headers map[string]string, body []byte) (int, string) {
	s.Helper()
	request := httptest.NewRequestWithContext(s.Context(), method, "https://app.azurewebsites.net"+path, bytes.NewReader(body))
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response := httptest.NewRecorder()
	host.ServeHTTP(response, request)
	content, _ := io.ReadAll(response.Body)
	return response.Code, string(content)
}

// published is what the world reads.
func (s *subscription) published() string {
	s.Helper()
	response, err := s.storage.HTTPClient().Get(s.exporter.Issuer + "/openid/v1/jwks")
	if err != nil {
		s.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/json" ||
		response.Header.Get("Cache-Control") != "public, max-age=60, must-revalidate" {
		s.Fatalf("the world reads %s %v %s, %v", response.Status, response.Header, content, err)
	}
	return string(content)
}

func (s *subscription) await(what string, host *functionshost.Host, done func() bool) {
	s.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("no %s in time\n%s", what, host.Log())
		}
	}
}

// TestPackage: the package that is deployed, behind the host's contract, on storage: every function in its own protocol.
func TestPackage(t *testing.T) {
	t.Parallel()
	s := newSubscription(t)
	host := s.start()
	if err := host.Tick(t.Context(), "reconcile"); err != nil {
		t.Fatalf("%v\n%s", err, host.Log())
	}
	if !strings.Contains(s.published(), s.key.ID()) {
		t.Error("the enrolled key is not published by the first reconcile")
	}
	if code, body := s.send(host, http.MethodGet, "/healthz", nil, nil); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	s.webhook(host)
	s.queue(host)
	s.repair(host)
	s.operate(host)
	s.checkLog(host.Log())
	t.Logf("the handler was ready after %s", host.Started())
}

func (s *subscription) webhook(host *functionshost.Host) {
	for _, contentType := range []string{"application/jose", "application/octet-stream"} { // as text, and in base64
		envelope := s.exporter.Send(time.Now(), []snapshottest.Key{s.key}, s.key)
		if code, body := s.send(host, http.MethodPost, "/v1/snapshots", map[string]string{"Content-Type": contentType}, envelope); code != http.StatusOK {
			s.Errorf("a snapshot as %s: %d %s", contentType, code, body)
		}
	}
	junk := []byte(`{"Data":{"timer":{}}}`)
	for path, want := range map[string]int{"/v1/snapshots": 400, "/queue": 404, "/reconcile": 404, "/api/queue": 404, "/v1/snapshots/../../queue": 404, "//queue": 404} {
		if code, body := s.send(host, http.MethodPost, path, nil, junk); code != want {
			s.Errorf("junk to %s: %d %s, want %d", path, code, body, want)
		}
	}
	if code, _ := s.send(host, http.MethodPost, "/v1/snapshots", nil, make([]byte, 200_000)); code != http.StatusRequestEntityTooLarge {
		s.Errorf("200,000 bytes: %d", code)
	}
}

// queue sends snapshots in both forms, between messages that are none.
func (s *subscription) queue(host *functionshost.Host) {
	second, third := snapshottest.NewKey(), snapshottest.NewKey()
	text := s.exporter.Send(time.Now(), []snapshottest.Key{s.key, second}, s.key)
	encoded := base64.StdEncoding.EncodeToString(s.exporter.Send(time.Now().Add(time.Millisecond), []snapshottest.Key{s.key, second, third}, s.key))
	for _, message := range []string{"poison", string(text), `{"Data": {"timer": {}}, "Id": "x"}`, encoded, "~~", base64.StdEncoding.EncodeToString([]byte{0xff})} {
		if _, err := s.storage.Queue(s.T, "snapshots").EnqueueMessage(s.Context(), message, nil); err != nil {
			s.Fatal(err)
		}
	}
	s.await("end of the queue", host, func() bool {
		properties, err := s.storage.Queue(s.T, "snapshots").GetProperties(s.Context(), nil)
		return err == nil && *properties.ApproximateMessagesCount == 0
	})
	if published := s.published(); !strings.Contains(published, second.ID()) || !strings.Contains(published, third.ID()) || host.Poisoned() != 0 {
		s.Errorf("%d messages were put beside; published is %s", host.Poisoned(), published)
	}
}

// repair overwrites the public document, as somebody's hand might.
func (s *subscription) repair(host *functionshost.Host) {
	before := s.published()
	object, version, err := s.documents.Get(s.Context(), jwksBlob)
	if err != nil {
		s.Fatal(err)
	}
	object.Body = []byte(`{"keys":[]}`)
	if _, err := s.documents.Put(s.Context(), jwksBlob, object, version); err != nil {
		s.Fatal(err)
	}
	if err := host.Tick(s.Context(), "reconcile"); err != nil || s.published() != before {
		s.Errorf("%v; published is %s", err, s.published())
	}
}

func (s *subscription) operate(host *functionshost.Host) {
	keys := must(jwks.Parse([]byte(s.published())))
	var revoked string
	for _, key := range keys {
		if key.ID() != s.key.ID() {
			revoked = key.ID()
		}
	}
	order := must(json.Marshal(map[string]any{"statement": rotation.Statement{
		Issuer: s.exporter.Issuer, Cluster: "prod", Action: rotation.Revoke, KeyIDs: []string{revoked}, Reason: "stolen",
	}}))
	for token, want := range map[string]int{"": 401, s.entra.token(map[string]any{"oid": tenant}): 403, s.entra.token(map[string]any{"aud": "x"}): 401} {
		if code, body := s.send(host, http.MethodPost, "/v1/operate", map[string]string{"Authorization": "Bearer " + token}, order); code != want || !strings.Contains(s.published(), revoked) {
			s.Errorf("somebody else's order: %d %s, want %d", code, body, want)
		}
	}
	code, body := s.send(host, http.MethodPost, "/v1/operate", map[string]string{"Authorization": "Bearer " + s.entra.token(nil), "Content-Type": "application/json"}, order)
	if code != http.StatusOK || !strings.Contains(body, `"status":"accepted"`) || strings.Contains(s.published(), revoked) {
		s.Errorf("the operator's order: %d %s; published is %s", code, body, s.published())
	}
}

// checkLog holds every line to what the alerts are made from, and to what must not be in it.
func (s *subscription) checkLog(log string) {
	seen := map[string]bool{}
	for line := range strings.Lines(log) {
		var entry struct{ Event, Time, Level, Msg, Invocation string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Event == "" || entry.Time == "" || entry.Level == "" ||
			entry.Invocation == "" && entry.Event != "settings.warning" || len(line) > 32<<10 {
			s.Errorf("a line of the log: %v: %s", err, line)
		}
		seen[entry.Event] = true
	}
	for _, event := range []string{
		"snapshot.accepted", "request.rejected", "key.added", "key.revoked", "document.written", "document.repaired", "statement.accepted", "operator.admitted",
	} {
		if !seen[event] {
			s.Errorf("the log has no %s:\n%s", event, log)
		}
	}
	for _, secret := range []string{"eyJ", s.storage.Key} {
		if strings.Contains(log, secret) {
			s.Errorf("the log has %q", secret)
		}
	}
	if seen["readback.differs"] || seen["readback.failed"] || seen["invocation.failed"] {
		s.Errorf("the log has what should not be:\n%s", log)
	}
}

// TestPackageThatCantWork is there for whoever asks, and says why.
func TestPackageThatCantWork(t *testing.T) {
	t.Parallel()
	folder := functionshost.Build(t)
	host, err := functionshost.Start(t.Context(), functionshost.Options{Package: folder, Settings: map[string]string{"AzureWebJobs.queue.Disabled": "true"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	if err := host.Tick(t.Context(), "reconcile"); err == nil || !strings.Contains(host.Log(), `"event":"settings.invalid"`) || !strings.Contains(host.Log(), "DOCUMENTS_BUCKET is not set") {
		t.Errorf("%v\n%s", err, host.Log())
	}
}
