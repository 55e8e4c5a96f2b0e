package pubsub

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	pubsubScope = "https://www.googleapis.com/auth/pubsub"
	ackDeadline = 10 * time.Second
	minBackoff  = 20 * time.Millisecond // Google's shortest is 100 ms
	maxBackoff  = time.Second
)

// Topic is a topic with one subscription.
type Topic struct {
	name       string
	publishers []string // guarded by the Google's mu
	arrived    chan Message
}

// Message is what is in a topic.
type Message struct {
	ID         string
	Data       []byte
	Attributes map[string]string
	Published  time.Time
}

// publish is Pub/Sub's method of that name.
func (g *Google) publish(w http.ResponseWriter, r *http.Request) {
	short, ok := strings.CutSuffix(r.PathValue("call"), ":publish")
	if !ok {
		http.NotFound(w, r)
		return
	}
	l, ok := g.caller(w, r, pubsubScope, cloudPlatform)
	if !ok {
		return
	}
	g.mu.Lock()
	topic := g.topics["projects/"+r.PathValue("project")+"/topics/"+short]
	var publishers []string
	if topic != nil {
		publishers = topic.publishers
	}
	g.mu.Unlock()
	if topic == nil {
		fail(w, http.StatusNotFound, "NOT_FOUND", "Resource not found (resource=%s).", short)
		return
	}
	if !allowed(l.principal, publishers) {
		fail(w, http.StatusForbidden, "PERMISSION_DENIED", "User not authorized to perform this action.")
		return
	}
	var body struct {
		Messages []struct {
			Data       []byte            `json:"data"`
			Attributes map[string]string `json:"attributes"`
		} `json:"messages"`
	}
	data, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(data, &body)
	}
	if err != nil || len(body.Messages) == 0 {
		fail(w, http.StatusBadRequest, "INVALID_ARGUMENT", "Invalid JSON payload received.")
		return
	}
	var ids []string
	for _, m := range body.Messages {
		if len(m.Data) == 0 && len(m.Attributes) == 0 {
			fail(w, http.StatusBadRequest, "INVALID_ARGUMENT", "One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.")
			return
		}
	}
	for i, m := range body.Messages {
		id := strconv.FormatInt(g.now().UnixNano(), 10) + strconv.Itoa(i)
		ids = append(ids, id)
		topic.arrived <- Message{ID: id, Data: m.Data, Attributes: m.Attributes, Published: g.now()}
	}
	reply(w, http.StatusOK, map[string]any{"messageIds": ids})
}

// Receive takes the next message out of the subscription, waiting for one as long as the context lasts.
func (topic *Topic) Receive(ctx context.Context) (Message, bool) {
	select {
	case m := <-topic.arrived:
		return m, true
	case <-ctx.Done():
		return Message{}, false
	}
}

// Push delivers everything to a function as Eventarc does, until the test ends: a binary CloudEvent by POST, again and again while the
// answer is not a success. What a platform does before the function (the caller's token is checked) is not played.
func (topic *Topic) Push(t testing.TB, url string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			m, ok := topic.Receive(ctx)
			if !ok {
				return
			}
			topic.deliver(ctx, url, m)
		}
	}()
	t.Cleanup(func() { cancel(); <-ended })
}

func (topic *Topic) deliver(ctx context.Context, url string, m Message) {
	backoff := time.NewTimer(0)
	defer backoff.Stop()
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		if ctx.Err() != nil || topic.accepted(ctx, url, m) {
			return
		}
		backoff.Reset(pause)
		select {
		case <-ctx.Done():
		case <-backoff.C:
		}
	}
}

// accepted delivers once. These answers acknowledge; all others, and none within the deadline, do not.
func (topic *Topic) accepted(ctx context.Context, url string, m Message) bool {
	ctx, cancel := context.WithTimeout(ctx, ackDeadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(topic.event(m)))
	if err != nil {
		return false
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Ce-Specversion": "1.0", "Ce-Id": m.ID, "Ce-Type": "google.cloud.pubsub.topic.v1.messagePublished",
		"Ce-Source": "//pubsub.googleapis.com/" + topic.name, "Ce-Time": m.Published.UTC().Format(time.RFC3339Nano),
	} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // only the status counts
	return slices.Contains([]int{http.StatusProcessing, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}, response.StatusCode)
}

// event is the data of the CloudEvent. Both spellings of a member are there.
func (topic *Topic) event(m Message) []byte {
	published := m.Published.UTC().Format(time.RFC3339Nano)
	message := map[string]any{"data": m.Data, "messageId": m.ID, "message_id": m.ID, "publishTime": published, "publish_time": published}
	if len(m.Attributes) > 0 {
		message["attributes"] = m.Attributes
	}
	project, short, _ := strings.Cut(topic.name, "/topics/")
	data, err := json.Marshal(map[string]any{"message": message, "subscription": project + "/subscriptions/eventarc-" + short})
	if err != nil {
		panic(err) // bytes and strings always are JSON
	}
	return data
}
