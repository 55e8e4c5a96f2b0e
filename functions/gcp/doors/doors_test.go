package doors

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// behind serves one door of a service that has no settings, and returns its address and log.
func behind(t *testing.T, d door) (*service, *httptest.Server, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	s := &service{logger: newLogger(log, "acme"), patience: 100 * time.Millisecond}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, d) }))
	t.Cleanup(server.Close)
	return s, server, log
}

func codeOf(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	var p publish.Problem
	if err := json.NewDecoder(response.Body).Decode(&p); err != nil || p.Instance == "" || response.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d, %v, %v", response.StatusCode, response.Header, err)
	}
	return p.Code
}

// A bug is answered, and is one line of the log, which Error Reporting can read. It says nothing to the caller.
func TestPanic(t *testing.T) {
	t.Parallel()
	_, server, log := behind(t, door{body: 10, limit: time.Minute, answer: func(*service, http.ResponseWriter, *http.Request, []byte) {
		panic("a\nbug")
	}})
	for range 2 { // the process lives on
		response, err := http.Post(server.URL, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		if code := codeOf(t, response); response.StatusCode != http.StatusInternalServerError || code != "bug" {
			t.Errorf("%d %s", response.StatusCode, code)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("the log has %d lines:\n%s", n, log)
	}
	var line struct {
		Severity, Message, Event, Detail string
		StackTrace                       string `json:"stack_trace"`
	}
	if err := json.NewDecoder(log).Decode(&line); err != nil || line.Severity != "ERROR" || line.Event != "function.panicked" ||
		line.Detail != "panic: a\nbug" || !strings.HasPrefix(line.StackTrace, "panic: a\nbug\n\ngoroutine ") || !strings.Contains(line.StackTrace, "doors_test.go") {
		t.Errorf("%v, %+v", err, line)
	}
}

// A body is read to its limit, and for its time.
func TestBodies(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	_, server, _ := behind(t, door{body: 10, limit: time.Minute, answer: func(_ *service, _ http.ResponseWriter, r *http.Request, body []byte) {
		again, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("the body is %q, %v the second time, not %q", again, err, body)
		}
		got <- string(body)
	}})
	for sent, want := range map[string]string{"": "", "0123456789": "0123456789", strings.Repeat("x", 1<<20): "xxxxxxxxxxx"} {
		response, err := http.Post(server.URL, "text/plain", strings.NewReader(sent))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if body := <-got; body != want || response.Close != (len(sent) > 10) {
			t.Errorf("%d bytes arrive as %q, and the connection is closed: %t", len(sent), body, response.Close)
		}
	}
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := io.WriteString(connection, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhalf"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(connection)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") || len(got) > 0 {
		t.Errorf("half a body: %q, %v", answer, err)
	}
}

// Who waits longer than a body may take to arrive is answered all the same.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	_, server, _ := behind(t, door{limit: time.Minute, answer: func(s *service, w http.ResponseWriter, r *http.Request, _ []byte) {
		select {
		case <-r.Context().Done():
			t.Error("the request was given up")
		case <-time.After(3 * s.patience):
		}
		w.WriteHeader(http.StatusNoContent)
	}})
	response, err := http.Post(server.URL, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response.Body.Close(); response.StatusCode != http.StatusNoContent {
		t.Error(response.Status)
	}
}

// A process that ends answers whom it has let in, and nobody else.
func TestDrain(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan bool), make(chan bool)
	s, server, _ := behind(t, door{limit: time.Minute, answer: func(_ *service, w http.ResponseWriter, _ *http.Request, _ []byte) {
		entered <- true
		<-leave
		w.WriteHeader(http.StatusNoContent)
	}})
	answered := make(chan int)
	go func() {
		response, err := http.Post(server.URL, "text/plain", nil)
		if err != nil {
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	<-entered
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.requests.drain(impatient); err == nil {
		t.Error("it did not wait")
	}
	response, err := http.Post(server.URL, "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	if code := codeOf(t, response); response.StatusCode != http.StatusServiceUnavailable || code != publish.CodeRetry || !response.Close {
		t.Errorf("who comes later: %d %s", response.StatusCode, code)
	}
	close(leave)
	if status := <-answered; status != http.StatusNoContent {
		t.Errorf("who was let in: %d", status)
	}
	if err := s.requests.drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTraces(t *testing.T) {
	t.Parallel()
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for value, want := range map[string]trace{
		"00-" + id + "-" + span + "-01":                  {id, span},
		"cc-" + id + "-" + span + "-01-later":            {id, span},
		"00-" + id + "-" + span + "-01-later":            {},
		"ff-" + id + "-" + span + "-01":                  {},
		"00-" + strings.ToUpper(id) + "-" + span + "-01": {},
		"00-" + noTrace + "-" + span + "-01":             {},
		"00-" + id + "-" + noSpan + "-01":                {},
		"00-" + id + "-" + span + "-01\n":                {},
		id:                                               {},
	} {
		if got, ok := w3cTrace(value); got != want || ok != (want != trace{}) {
			t.Errorf("traceparent %q: %v", value, got)
		}
	}
	for value, want := range map[string]trace{
		id + "/67667974448284343;o=1":              {id, span},
		strings.ToUpper(id) + "/67667974448284343": {id, span},
		id:                                       {id, ""},
		id + ";o=1":                              {id, ""},
		id + "/0;o=1":                            {id, ""},
		id + "/99999999999999999999;o=1":         {id, ""},
		noTrace + "/1;o=1":                       {},
		"105445aa7843bc8bf206b12000100/1;o=1":    {},
		id + "/1;o=1\",\"severity\":\"EMERGENCY": {},
		id + "/f;o=1":                            {},
	} {
		if got, ok := googleTrace(value); got != want || ok != (want != trace{}) {
			t.Errorf("X-Cloud-Trace-Context %q: %v", value, got)
		}
	}
}

func FuzzTraces(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("4bf92f3577b34da6a3ce929d0e0e4736/67667974448284343;o=1")
	f.Fuzz(func(t *testing.T, value string) {
		for _, name := range []string{"Traceparent", "X-Cloud-Trace-Context"} {
			found, ok := traceOf(http.Header{name: {value}})
			if ok && (len(found.id) != 32 || strings.Trim(found.id, "0123456789abcdef") != "" || len(found.span) != 16 && found.span != "" ||
				strings.Trim(found.span, "0123456789abcdef") != "") {
				t.Errorf("%s %q: %+v", name, value, found)
			}
		}
	})
}

// FuzzMessages: whatever is posted to the queue, reading it does not panic, and an error has none of it.
func FuzzMessages(f *testing.F) {
	f.Add("application/json", "", `{"message":{"messageId":"1","data":"eyJhbGciOiJFUzI1NiJ9"},"subscription":"s"}`)
	f.Add("application/json", published, `{"message":{"messageId":"1","data":"eyJhbGciOiJFUzI1NiJ9"}}`)
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"1","source":"/","type":"`+published+`","data":{"message":{"messageId":"1","data":"eyJ9"}}}`)
	f.Add("application/cloudevents+json", "", `{"specversion":"1.0","id":"1","source":"/","type":"`+published+`","data_base64":"e30="}`)
	f.Add("application/cloudevents-batch+json", "", `[]`)
	f.Fuzz(func(t *testing.T, contentType, eventType, body string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body))
		r.Header = http.Header{"Content-Type": {contentType}}
		if eventType != "" {
			for name, value := range map[string]string{"Ce-Id": "1", "Ce-Source": "/", "Ce-Specversion": "1.0", "Ce-Type": eventType} {
				r.Header.Set(name, value)
			}
		}
		m, err := messageOf(r, []byte(body))
		if err == nil && m.ID == "" && len(body) <= maxMessage {
			t.Error("a message without an ID")
		}
		if err != nil && len(body) > 40 && strings.Contains(err.Error(), body) {
			t.Errorf("the error has the body: %v", err)
		}
	})
}
