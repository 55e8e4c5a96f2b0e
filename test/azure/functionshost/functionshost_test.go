package functionshost_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure/functionshost"
)

// newPackage is the app of testdata with its handler.
func newPackage(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(folder, os.DirFS("testdata/app")); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(folder, "function"), "./testdata/function")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return folder
}

func settingsOf(storage *azure.Storage) map[string]string {
	settings := map[string]string{
		"JOBS": "jobs", "JOBS_STORAGE__queueServiceUri": storage.QueueURL, "JOBS_STORAGE__credential": "managedidentity",
		"JOBS_STORAGE__clientId": storage.Identity.ClientID,
	}
	for _, variable := range storage.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		settings[name] = value
	}
	return settings
}

// TestHost goes through every door, with answers of every kind.
func TestHost(t *testing.T) {
	t.Parallel()
	storage := azure.StartStorage(t)
	storage.CreateQueue(t, "jobs")
	settings := settingsOf(storage)
	settings["FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"] = "1000"
	host, err := functionshost.Start(t.Context(), functionshost.Options{Package: newPackage(t), Settings: settings, Client: storage.HTTPClient()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	t.Run("front", func(t *testing.T) { front(t, host) })
	t.Run("queue", func(t *testing.T) { queue(t, host, storage) })
	t.Run("timer", func(t *testing.T) {
		if err := host.Tick(t.Context(), "clock"); err != nil || !strings.Contains(host.Log(), `POST /clock {"Data":{"timer":{"IsPastDue":false,"Schedule":`) {
			t.Errorf("%v\n%s", err, host.Log())
		}
		if err := host.Tick(t.Context(), "web"); err == nil || errors.Is(err, functionshost.ErrInvocation) {
			t.Errorf("a function without a timer: %v", err)
		}
	})
	if !strings.HasPrefix(host.Log(), "GET / \n") || host.Started() <= 0 {
		t.Errorf("started in %s, log:\n%s", host.Started(), host.Log())
	}
	host.Stop()
	if err := host.Tick(t.Context(), "clock"); !errors.Is(err, functionshost.ErrInvocation) {
		t.Errorf("after the end: %v", err)
	}
}

func front(t *testing.T, host *functionshost.Host) {
	for name, test := range map[string]struct {
		method, path, contentType, body string
		want                            int
		saw                             string
	}{
		"text":               {"POST", "/api/some/path?q=1", "text/plain", "a\"b", 418, `"Body":"a\"b"`},
		"JSON":               {"POST", "/api/some/path", "application/json", `{"a": 1}`, 418, `"Body":"{\"a\": 1}"`},
		"bytes":              {"POST", "/api/some/path", "application/octet-stream", "\xff\xfe", 418, `"Body":"//4="`},
		"nothing":            {"POST", "/api/some/path", "", "", 418, `"Method":"POST"`},
		"in another case":    {"POST", "/API/Some/Path/", "", "x", 418, `"Body":"x"`},
		"another method":     {"GET", "/api/some/path", "", "", 404, ""},
		"another path":       {"POST", "/some/path", "", "", 404, ""},
		"a function's name":  {"POST", "/jobs", "application/json", `{"Data":{"message":"x"}}`, 404, ""},
		"a queue's function": {"POST", "/api/jobs", "application/json", `{"Data":{"message":"x"}}`, 404, ""},
		"too large":          {"POST", "/api/some/path", "text/plain", strings.Repeat("x", 1001), 413, ""},
		"a failure":          {"POST", "/api/some/path", "text/plain", "fail", 500, ""},
		"an answer as text":  {"POST", "/api/some/path", "text/plain", "text", 500, ""},
		"an empty answer":    {"POST", "/api/some/path", "text/plain", "empty", 500, ""},
		"null":               {"POST", "/api/some/path", "text/plain", "null", 500, ""},
		"no output":          {"POST", "/api/some/path", "text/plain", "no output", 500, ""},
	} {
		request := httptest.NewRequestWithContext(t.Context(), test.method, "https://app.example.com"+test.path, strings.NewReader(test.body))
		request.Header.Set("Content-Type", test.contentType)
		response := httptest.NewRecorder()
		host.ServeHTTP(response, request)
		body, _ := io.ReadAll(response.Body)
		if response.Code != test.want || !bytes.Contains(body, []byte(test.saw)) || (response.Header().Get("X-One") == "1") != (test.want == 418) {
			t.Errorf("%s: %d %v %s, want %d with %s", name, response.Code, response.Header(), body, test.want, test.saw)
		}
	}
}

// queue: a message that is processed goes, one that fails comes back once, as maxDequeueCount says, and then lies beside.
func queue(t *testing.T, host *functionshost.Host, storage *azure.Storage) {
	messages := storage.Queue(t, "jobs")
	for _, message := range []string{encoded("good"), encoded("fail"), encoded("empty"), encoded("text"), "~~ no base64 ~~"} {
		if _, err := messages.EnqueueMessage(t.Context(), message, nil); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "four messages beside", func() bool { return host.Poisoned() == 4 })
	for name, want := range map[string]int64{"jobs": 0, "jobs-poison": 4} {
		properties, err := storage.Queue(t, name).GetProperties(t.Context(), nil)
		if err != nil || *properties.ApproximateMessagesCount != want {
			t.Errorf("%d messages in %s, %v; want %d", *properties.ApproximateMessagesCount, name, err, want)
		}
	}
	for said, want := range map[string]int{`"message":"\"good\""`: 1, `"message":"\"fail\""`: 2, `"message":"\"empty\""`: 2, `"DequeueCount":"2"`: 3, "~~": 0} {
		if got := strings.Count(host.Log(), said); got != want {
			t.Errorf("the handler saw %s %d times, want %d", said, got, want)
		}
	}
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s in time", what)
		}
	}
}

// TestPackages: what the host would refuse, ignore or never call stops this one.
func TestPackages(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ file, old, new, want string }{
		"an unknown member":        {"host.json", `"version"`, `"functionTimeOut": "00:01:00", "version"`, "functionTimeOut"},
		"forwarding":               {"host.json", `{"description"`, `{"enableForwardingHttpRequest": true, "description"`, "enableForwardingHttpRequest"},
		"another version":          {"host.json", `"2.0"`, `"3.0"`, "version"},
		"no program":               {"host.json", `"function"`, `""`, "defaultExecutablePath"},
		"no such program":          {"host.json", `"function"`, `"handler"`, "no such file"},
		"a wrong time":             {"host.json", "00:00:10", "10s", "hh:mm:ss"},
		"an unknown encoding":      {"host.json", `"maxDequeueCount"`, `"messageEncoding": "base32", "maxDequeueCount"`, "base32"},
		"no such setting":          {"jobs/function.json", "%JOBS%", "%QUEUE%", "'%QUEUE%' does not resolve"},
		"no such connection":       {"jobs/function.json", "JOBS_STORAGE", "STORAGE", "STORAGE__queueServiceUri"},
		"another trigger":          {"jobs/function.json", "queueTrigger", "kafkaTrigger", "kafkaTrigger"},
		"another trigger's member": {"jobs/function.json", `"connection"`, `"route": "x", "connection"`, "members that a queueTrigger does not have"},
		"a wrong direction":        {"jobs/function.json", `"in"`, `"out"`, "direction"},
		"a wrong schedule":         {"clock/function.json", "0 */5 * * * *", "*/5 * * * *", "5 fields, want 6"},
		"a key":                    {"web/function.json", "anonymous", "function", "authLevel"},
		"no output":                {"web/function.json", `{"type": "http", "direction": "out", "name": "answer"}`, `{"type": "timerTrigger", "direction": "in", "name": "t"}`, "one too many"},
	} {
		folder := t.TempDir()
		if err := os.CopyFS(folder, os.DirFS("testdata/app")); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(folder, test.file))
		if err != nil || !bytes.Contains(content, []byte(test.old)) {
			t.Fatalf("%s: %v", name, err)
		}
		if err := os.WriteFile(filepath.Join(folder, test.file), bytes.Replace(content, []byte(test.old), []byte(test.new), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		host, err := functionshost.Start(t.Context(), functionshost.Options{Package: folder, Settings: map[string]string{
			"JOBS": "jobs", "JOBS_STORAGE__queueServiceUri": "https://127.0.0.1:1/account", "JOBS_STORAGE__credential": "managedidentity", "JOBS_STORAGE__clientId": "id",
		}})
		if err == nil {
			host.Stop()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestHandlerThatEnds: the end of its log is in the error.
func TestHandlerThatEnds(t *testing.T) {
	t.Parallel()
	_, err := functionshost.Start(t.Context(), functionshost.Options{
		Package: newPackage(t), Settings: map[string]string{"START": "exit", "AzureWebJobs.jobs.Disabled": "true"}, Client: http.DefaultClient,
	})
	if err == nil || !strings.Contains(err.Error(), "exit status 4") || !strings.Contains(err.Error(), "no luck today") {
		t.Errorf("%v", err)
	}
}
