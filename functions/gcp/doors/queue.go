package doors

import (
	"errors"
	"fmt"
	"mime"
	"net/http"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

const (
	published  = "google.cloud.pubsub.topic.v1.messagePublished" // the type of the one event there is
	maxMessage = 256 << 10                                       // bytes of an event: a snapshot in base64, and twice as much of attributes
)

// errEvent means that a request is no message of Pub/Sub's. Nothing was done.
var errEvent = errors.New("not a message of Pub/Sub's")

// message is what is of use in one of Pub/Sub's. Its attributes mean nothing.
type message struct {
	ID   string `json:"messageId"`
	Data []byte `json:"data"` // a snapshot
}

// queue takes one message. It answers 2xx, which takes the message from the queue, for what was accepted and for what was refused: publish
// has logged it, and the log is what counts it. What may succeed later comes back.
func (s *service) queue(w http.ResponseWriter, r *http.Request, body []byte) {
	if !onlyPost(w, r) {
		return
	}
	m, err := messageOf(r, body)
	if err != nil {
		s.fail(w, r, problem(http.StatusBadRequest, publish.CodeMalformed, instanceOf(r)), err)
		return
	}
	if err := function.Take(r.Context(), s.publisher, s.logger, m.ID, m.Data); err != nil {
		answer(w, publish.NewProblem(err, m.ID))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// messageOf reads a message in any of its forms. One that is too large stands for a snapshot that is, so that it is refused as such,
// and does not come back.
func messageOf(r *http.Request, body []byte) (message, error) {
	if len(body) > maxMessage {
		return message{ID: instanceOf(r), Data: make([]byte, snapshot.MaxBytes+1)}, nil
	}
	data := body
	if isCloudEvent(r.Header) {
		event, err := cloudevents.NewEventFromHTTPRequest(r)
		if err != nil || event.Validate() != nil { // whose words have what was sent in them
			return message{}, fmt.Errorf("%w: no CloudEvent of version 1.0 with id, source and type", errEvent)
		}
		if event.Type() != published {
			return message{}, fmt.Errorf("%w: an event of type %.80q, want %s", errEvent, event.Type(), published)
		}
		data = event.Data()
	}
	var pushed struct {
		Message *message `json:"message"`
	}
	if err := json.Unmarshal(data, &pushed); err != nil {
		return message{}, fmt.Errorf("%w: %w", errEvent, withoutInput(err))
	}
	if pushed.Message == nil || pushed.Message.ID == "" {
		return message{}, fmt.Errorf("%w: want a message with its messageId (and no payload unwrapping of the subscription)", errEvent)
	}
	return *pushed.Message, nil
}

// withoutInput keeps what a sender wrote out of the log.
func withoutInput(err error) error {
	var wrong *json.SemanticError
	if errors.As(err, &wrong) {
		return fmt.Errorf("the member %.80q is not what it should be", wrong.JSONPointer)
	}
	return errors.New("no JSON")
}

// isCloudEvent tells events, whose headers or content type say what they are, from the body of a push subscription.
func isCloudEvent(header http.Header) bool {
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	return header.Get("Ce-Id") != "" || header.Get("Ce-Specversion") != "" || kind == cloudevents.ApplicationCloudEventsJSON || kind == cloudevents.ApplicationCloudEventsBatchJSON
}
