package lambdahost_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
)

// binary is the function of testdata, built once.
var binary = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "lambdahost")
	if err != nil {
		return "", err
	}
	file := filepath.Join(folder, "bootstrap")
	build := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", file, "./testdata/function")
	if out, err := build.CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return file, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if file, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(file))
	}
	os.Exit(status)
}

func start(t *testing.T, options lambdahost.Options) *lambdahost.Host {
	t.Helper()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	options.Bootstrap = file
	host, err := lambdahost.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Stop)
	return host
}

// Every way an event can end, one after the other on one host: it goes on with a new process where one was lost.
func TestInvoke(t *testing.T) {
	t.Parallel()
	host := start(t, lambdahost.Options{Env: []string{"GREETING=hello"}, Timeout: 3 * time.Second})
	for _, test := range []struct{ event, want, failure string }{
		{event: `"echo"`, want: `"hello echo"`},
		{event: `"fail"`, failure: "errorString: as asked"},
		{event: `"echo"`, want: `"hello echo"`},
		{event: `"panic"`, failure: "string: as asked"},
		{event: `"echo"`, want: `"hello echo"`},
		{event: `"exit"`, failure: "Runtime.ExitError: the process ended (exit status 3)"},
		{event: `"hang"`, failure: "Sandbox.Timedout: the task timed out after 3s"},
		{event: `"echo"`, want: `"hello echo"`},
	} {
		answer, err := host.Invoke(t.Context(), []byte(test.event))
		var failure *lambdahost.FunctionError
		switch {
		case test.failure == "" && (err != nil || string(answer) != test.want):
			t.Errorf("%s: %s, %v, want %s", test.event, answer, err, test.want)
		case test.failure != "" && (!errors.As(err, &failure) || !strings.HasPrefix(failure.Error(), test.failure)):
			t.Errorf("%s: %s, %v, want %s", test.event, answer, err, test.failure)
		}
	}
	if !strings.Contains(host.Log(), "goes to the log") || host.Started() <= 0 {
		t.Errorf("started in %s, log:\n%s", host.Started(), host.Log())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := host.Invoke(ctx, []byte(`"hang"`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an event that nobody waits for: %v", err)
	}
	host.Stop()
	if _, err := host.Invoke(t.Context(), []byte(`"echo"`)); !errors.Is(err, lambdahost.ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}

// Events run at once on as many processes as there are, and wait for each other otherwise.
func TestProcesses(t *testing.T) {
	t.Parallel()
	host := start(t, lambdahost.Options{Env: []string{"GREETING=hello"}, Processes: 2})
	var all sync.WaitGroup
	pids, mu := map[string]bool{}, sync.Mutex{}
	for range 12 {
		all.Go(func() {
			answer, err := host.Invoke(t.Context(), []byte(`"pid"`))
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			pids[string(answer)] = true
		})
	}
	all.Wait()
	if len(pids) != 2 {
		t.Errorf("the events ran in %d processes, want 2", len(pids))
	}
}

// A function that can't start says why.
func TestInitError(t *testing.T) {
	t.Parallel()
	file, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		bootstrap, env, want string
	}{
		"it ends":          {bootstrap: file, env: "INIT=exit", want: "exit status 4"},
		"it tells":         {bootstrap: file, env: "INIT=error", want: "Init.Failed: no settings"},
		"it is no program": {bootstrap: filepath.Join(t.TempDir(), "bootstrap"), env: "INIT=", want: "no such file"},
	} {
		host, err := lambdahost.Start(t.Context(), lambdahost.Options{Bootstrap: test.bootstrap, Env: []string{test.env}})
		if !errors.Is(err, lambdahost.ErrInit) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
			host.Stop()
		}
	}
}

// The door in front of the function carries requests and responses, text and bytes.
func TestHTTP(t *testing.T) {
	t.Parallel()
	host := start(t, lambdahost.Options{})
	web := httptest.NewServer(host)
	defer web.Close()
	for name, test := range map[string]struct{ contentType, body, want string }{
		"text":    {"application/json; charset=utf-8", `{"a": "ä"}`, `POST /some/path?q=1&q=2 base64=false {"a": "ä"}`},
		"no type": {"", "abc", `POST /some/path?q=1&q=2 base64=true YWJj`},
		"bytes":   {"text/plain", "\xff\xfe", `POST /some/path?q=1&q=2 base64=true //4=`},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL+"/some/path?q=1&q=2", strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", test.contentType)
		request.Header.Set("X-One", "1")
		response, err := web.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != http.StatusTeapot || response.Header.Get("X-One") != "1" || string(body) != test.want+"\xff" {
			t.Errorf("%s: %s %q", name, response.Status, body)
		}
	}
	response, err := web.Client().Get(web.URL + "/fail")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var failure struct{ Message string }
	if err := json.NewDecoder(response.Body).Decode(&failure); err != nil || response.StatusCode != http.StatusInternalServerError || failure.Message != "Internal Server Error" {
		t.Errorf("a failure: %s, %+v, %v", response.Status, failure, err)
	}
}
