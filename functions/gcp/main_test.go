package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// pushed is the body of a push subscription, and the data of an event.
func pushed(id string, data []byte) map[string]any {
	return map[string]any{
		"message": map[string]any{
			"data": base64.StdEncoding.EncodeToString(data), "messageId": id, "message_id": id,
			"publishTime": "2026-11-20T12:00:00.123Z", "publish_time": "2026-11-20T12:00:00.123Z", "attributes": map[string]string{"any": "thing"},
		},
		"subscription": "projects/acme/subscriptions/snapshots",
	}
}

const (
	eventType = "google.cloud.pubsub.topic.v1.messagePublished"
	source    = "//pubsub.googleapis.com/projects/acme/topics/snapshots"
)

// forms are the three ways in which Google delivers a message.
var forms = map[string]func(id string, data []byte) (headers, []byte){
	"binary CloudEvent": func(id string, data []byte) (headers, []byte) {
		return headers{
			"Ce-Id": id, "Ce-Source": source, "Ce-Specversion": "1.0", "Ce-Type": eventType, "Ce-Time": "2026-11-20T12:00:00.123Z",
			"Content-Type": "application/json",
		}, encoded(pushed(id, data))
	},
	"structured CloudEvent": func(id string, data []byte) (headers, []byte) {
		return headers{"Content-Type": "application/cloudevents+json; charset=utf-8"}, encoded(map[string]any{
			"specversion": "1.0", "id": id, "source": source, "type": eventType, "datacontenttype": "application/json",
			"time": "2026-11-20T12:00:00.123Z", "data": pushed(id, data),
		})
	},
	"push": func(id string, data []byte) (headers, []byte) {
		return headers{"Content-Type": "application/json"}, encoded(pushed(id, data))
	},
}

// The program that is deployed, as the four services of a publisher, on one server of Cloud Storage.
func TestDoors(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	reconcile := c.start("Reconcile")
	if status, body := reconcile.post("/", nil, nil); status != http.StatusOK || body != `{"status":"reconciled"}` || !strings.Contains(c.published(), c.key.ID()) {
		t.Fatalf("the first reconcile: %d %s", status, body)
	}
	if status, _, err := reconcile.try(t.Context(), http.MethodGet, "/", nil, nil); err != nil || status != http.StatusMethodNotAllowed {
		t.Errorf("a reconcile by GET: %d, %v", status, err)
	}
	webhook := c.start("Webhook")
	for body, want := range map[string]int{
		string(c.snapshot(c.key)): http.StatusOK, "junk": http.StatusBadRequest,
		strings.Repeat("x", snapshot.MaxBytes+1): http.StatusRequestEntityTooLarge, strings.Repeat("x", 4<<20): http.StatusRequestEntityTooLarge,
	} {
		if status, answer := webhook.post("/v1/snapshots", headers{"Content-Type": "application/jose"}, []byte(body)); status != want {
			t.Errorf("a snapshot of %d bytes: %d %s, want %d", len(body), status, answer, want)
		}
	}
	queue := c.start("Queue")
	var added []snapshottest.Key
	for name, form := range forms {
		added = append(added, snapshottest.NewKey())
		h, body := form("123", c.snapshot(append([]snapshottest.Key{c.key}, added...)...))
		if status, answer := queue.post("/", h, body); status != http.StatusNoContent || !strings.Contains(c.published(), added[len(added)-1].ID()) {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	published := c.published()
	statement := map[string]any{"issuer": c.exporter.Issuer, "cluster": "prod", "action": "revoke", "keyIDs": []string{added[0].ID()}, "reason": "stolen"}
	operate := c.start("Operate")
	if status, plan := operate.post("/", nil, encoded(map[string]any{"statement": statement, "dryRun": true})); status != http.StatusOK ||
		!strings.Contains(plan, `"planned"`) || !strings.Contains(plan, "key.revoked") || c.published() != published {
		t.Errorf("the plan: %d %s", status, plan)
	}
	if status, answer := operate.post("/", nil, encoded(map[string]any{"statement": statement})); status != http.StatusOK ||
		!strings.Contains(answer, `"accepted"`) || strings.Contains(c.published(), added[0].ID()) {
		t.Errorf("the statement: %d %s", status, answer)
	}
	for i, events := range map[*instance][]string{
		reconcile: {"server.starting", "key.current", "document.written"}, webhook: {"snapshot.accepted", "request.rejected"},
		queue: {"snapshot.accepted", "key.added"}, operate: {"statement.accepted", "key.revoked"},
	} {
		for _, event := range events {
			if len(i.log(event)) == 0 && event != "key.current" {
				t.Errorf("the log has no %s", event)
			}
		}
	}
}

// What a queue's message must not do: come back for ever, or get an answer of 2xx although it may succeed later.
func TestQueueRefuses(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	queue, before := c.start("Queue"), c.snapshot(c.key)
	other := snapshottest.Cluster{ID: "prod", Issuer: c.exporter.Issuer, ServiceAccount: "a/b"}.NewExporter("p").Send(time.Now(), []snapshottest.Key{snapshottest.NewKey()})
	for name, data := range map[string][]byte{
		"no snapshot": []byte("poison"), "nothing": nil, "one that nobody believes": other,
		"too large": make([]byte, snapshot.MaxBytes+1), "much too large": make([]byte, 5<<20),
	} {
		for form, of := range forms {
			h, body := of("poison", data)
			if status, answer := queue.post("/", h, body); status != http.StatusNoContent {
				t.Errorf("%s as %s: %d %s, want it out of the queue", name, form, status, answer)
			}
		}
	}
	if n := len(queue.log("request.rejected")); n != 15 {
		t.Errorf("%d lines about 15 refused snapshots", n)
	}
	for name, event := range map[string]struct {
		headers headers
		body    string
	}{
		"no event":               {headers{"Content-Type": "application/json"}, `{}`},
		"no JSON":                {headers{"Content-Type": "application/json"}, `eyJhbGciOiJub25lIn0`},
		"data of another kind":   {headers{"Content-Type": "application/json"}, `{"message":{"messageId":"1","data":"eyJ~"}}`},
		"no message ID":          {headers{"Content-Type": "application/json"}, `{"message":{"data":"eyJh"}}`},
		"an event of a bucket's": {headers{"Ce-Id": "1", "Ce-Source": "/", "Ce-Specversion": "1.0", "Ce-Type": "google.cloud.storage.object.v1.finalized"}, `{}`},
		"half an event":          {headers{"Ce-Id": "1", "Content-Type": "application/json"}, `{}`},
		"a batch":                {headers{"Content-Type": "application/cloudevents-batch+json"}, `[]`},
	} {
		status, answer := queue.post("/", event.headers, []byte(event.body))
		if status != http.StatusBadRequest || !strings.Contains(answer, `"code":"malformed"`) || strings.Contains(answer, "eyJ") {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	if n := len(queue.log("request.failed")); n != 7 {
		t.Errorf("%d lines about 7 requests that are no messages", n)
	}
	if status, _, err := queue.try(t.Context(), http.MethodGet, "/", nil, nil); err != nil || status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d, %v", status, err)
	}
	c.storage.Stop()
	h, body := forms["push"]("7", before)
	if status, answer := queue.post("/", h, body); status != http.StatusServiceUnavailable || len(queue.log("queue.returned")) != 1 {
		t.Errorf("without Cloud Storage: %d %s, want the message back in the queue", status, answer)
	}
}

// Strangers reach the webhook, and through it nothing else.
func TestOnlyOneDoor(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	webhook := c.start("Webhook")
	if status, _ := webhook.post("/v1/snapshots", nil, c.snapshot(c.key)); status != http.StatusOK {
		t.Fatal(status)
	}
	published := c.published()
	second := snapshottest.NewKey()
	order := encoded(map[string]any{"statement": map[string]any{
		"issuer": c.exporter.Issuer, "cluster": "prod", "action": "revoke", "keyIDs": []string{c.key.ID()}, "reason": "none",
	}})
	message := encoded(pushed("1", c.snapshot(c.key, second)))
	for _, path := range []string{"/", "/Operate", "/operate", "/Queue", "/Reconcile", "/v1/operate", "/v1/snapshots/../../Operate", "/v1/snapshots"} {
		for _, body := range [][]byte{order, message, nil} {
			h := headers{"Ce-Id": "1", "Ce-Type": eventType, "Ce-Source": source, "Ce-Specversion": "1.0", "Function-Target": "Operate", "X-CloudScheduler": "true"}
			if status, answer := webhook.post(path, h, body); status < 400 || status >= 500 {
				t.Errorf("POST %s: %d %s", path, status, answer)
			}
		}
	}
	if c.published() != published {
		t.Error("something was published")
	}
}

// Without a door's name a process would serve them all.
func TestWrongTarget(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	for _, target := range []string{"", "webhook", "Everything", "/Operate"} {
		i := c.launch(target)
		i.ended()
		if lines := i.log("function.failed"); len(lines) != 1 || lines[0].Severity != "ERROR" || !strings.Contains(lines[0].Detail, `want one of ["Operate" "Queue" "Reconcile" "Webhook"]`) {
			t.Errorf("FUNCTION_TARGET=%s: %v", target, lines)
		}
	}
	i := c.launch("Webhook", "PORT=http")
	i.ended()
	if lines := i.log("function.failed"); len(lines) != 1 || !strings.Contains(lines[0].Detail, "PORT") {
		t.Errorf("a wrong port: %v", lines)
	}
}

// Settings that can't be used are named in the log, and every door says that it can't work now.
func TestUnusableSettings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  []string
		file string
		want string
	}{
		"no documents bucket": {env: []string{"DOCUMENTS_BUCKET="}, want: "DOCUMENTS_BUCKET is not set"},
		"one bucket for all":  {env: []string{"PRIVATE_BUCKET=" + documents}, want: `both "` + documents + `"`},
		"no bucket's name":    {env: []string{"PRIVATE_BUCKET=Private"}, want: "PRIVATE_BUCKET: bucket \"Private\" of Cloud Storage"},
		"no login":            {env: []string{"STORAGE_EMULATOR_HOST=", "GOOGLE_APPLICATION_CREDENTIALS=missing.json"}, want: "GOOGLE_APPLICATION_CREDENTIALS"},
		"an unknown field":    {file: "any: thing\n", want: "publisher.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			if test.file != "" {
				c.write("publisher.yaml", test.file)
			}
			for _, target := range []string{"Webhook", "Queue", "Reconcile", "Operate"} {
				i := c.start(target, test.env...)
				status, answer := i.post("/v1/snapshots", nil, c.snapshot(c.key))
				if status != http.StatusServiceUnavailable || !strings.Contains(answer, `"code":"unavailable"`) || strings.Contains(answer, test.want) {
					t.Errorf("%s: %d %s", target, status, answer)
				}
				for _, event := range []string{"settings.invalid", "request.unanswered"} {
					if lines := i.log(event); len(lines) == 0 || lines[0].Severity != "ERROR" || !strings.Contains(lines[0].Detail, test.want) {
						t.Errorf("%s: %s: %v", target, event, lines)
					}
				}
			}
		})
	}
}

// Each line of a request has its trace, under the project that the metadata server names, and nothing that is none.
func TestTraces(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/computeMetadata/v1/project/project-id" || r.Header.Get("Metadata-Flavor") != "Google" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		_, _ = w.Write([]byte("named-by-metadata"))
	}))
	t.Cleanup(metadata.Close)
	i := c.start("Webhook", "GOOGLE_CLOUD_PROJECT=", "K_SERVICE=webhook", "GCE_METADATA_HOST="+strings.TrimPrefix(metadata.URL, "http://"))
	const id, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	for _, h := range []headers{
		{"Traceparent": "00-" + id + "-" + span + "-01"}, {"X-Cloud-Trace-Context": id + "/67667974448284343;o=1"}, {"Traceparent": id + `","severity":"`}, {},
	} {
		i.post("/v1/snapshots", h, []byte("junk"))
	}
	lines := i.log("request.rejected")
	if len(lines) != 4 {
		t.Fatalf("%d lines", len(lines))
	}
	for n, want := range []line{{Trace: "projects/named-by-metadata/traces/" + id, Span: span}, {Trace: "projects/named-by-metadata/traces/" + id, Span: span}, {}, {}} {
		if lines[n].Trace != want.Trace || lines[n].Span != want.Span {
			t.Errorf("request %d has the trace %s, span %s", n, lines[n].Trace, lines[n].Span)
		}
	}
}

// When Cloud Run ends a process, whoever is being answered is answered.
func TestEnd(t *testing.T) {
	t.Parallel()
	c := newCloud(t)
	i := c.start("Webhook")
	connection, err := net.Dial("tcp", strings.TrimPrefix(i.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	snapshot := c.snapshot(c.key)
	fmt.Fprintf(connection, "POST /v1/snapshots HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(snapshot))
	answers := bufio.NewReader(connection)
	if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") { // it reads the body
		t.Fatalf("%q, %v", line, err)
	}
	stopped := make(chan bool)
	go func() {
		i.process.Stop()
		close(stopped)
	}()
	for status := 0; status != http.StatusServiceUnavailable; { // until it has heard
		if status, _, err = i.try(t.Context(), http.MethodGet, "/healthz", nil, nil); err != nil {
			t.Fatalf("it did not wait: %v", err)
		}
	}
	if _, err := connection.Write(snapshot); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(answers); !strings.Contains(string(rest), "HTTP/1.1 200 ") || !strings.Contains(string(rest), `"accepted"`) {
		t.Errorf("%q, %v", rest, err)
	}
	<-stopped
	if len(i.log("server.ended")) != 1 {
		t.Error("it did not end by itself")
	}
}
