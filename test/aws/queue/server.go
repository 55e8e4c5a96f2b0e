package queue

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Limits of SQS.
const (
	maxRequest = 2 << 20 // bytes
	maxMessage = 1 << 20 // bytes
	maxBatch   = 10
	maxWait    = 20 // seconds
)

// queryCodes are the errors whose code the header X-Amzn-Query-Error has in the words of the older protocol. The SDK goes by the header.
var queryCodes = map[string]string{"QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue"}

// Server speaks SQS's protocol (AWS JSON 1.0) for queues by the last part of their URL's path.
type Server struct {
	Queues map[string]*Queue

	// Authorize, if set, decides who may do what. It gets what the request was signed with; the signature itself is not checked. Its error
	// is answered as AccessDenied.
	Authorize func(ctx context.Context, accessKeyID, sessionToken, action, queue string) error
}

// request has the members of all actions.
type request struct {
	QueueName           string `json:"QueueName"`
	QueueURL            string `json:"QueueUrl"`
	MessageBody         string `json:"MessageBody"`
	ReceiptHandle       string `json:"ReceiptHandle"`
	MaxNumberOfMessages int    `json:"MaxNumberOfMessages"`
	WaitTimeSeconds     int    `json:"WaitTimeSeconds"`
}

// failure is an error of the protocol.
type failure struct {
	status        int
	code, message string
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	answer, failed := s.act(r)
	if failed != nil {
		w.Header().Set("X-Amzn-Query-Error", cmp.Or(queryCodes[failed.code], failed.code)+";Sender")
		w.WriteHeader(failed.status)
		answer = map[string]string{"__type": "com.amazonaws.sqs#" + failed.code, "message": failed.message}
	}
	_ = json.MarshalWrite(w, answer) // whoever does not listen any more needs no answer
}

func (s *Server) act(r *http.Request) (any, *failure) {
	action, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.")
	if r.Method != http.MethodPost || !ok {
		return nil, &failure{http.StatusBadRequest, "InvalidAction", "want POST with X-Amz-Target: AmazonSQS.ACTION"}
	}
	var in request
	if err := json.UnmarshalRead(io.LimitReader(r.Body, maxRequest), &in); err != nil {
		return nil, &failure{http.StatusBadRequest, "SerializationException", err.Error()}
	}
	name := in.QueueName
	if name == "" {
		name = path.Base(in.QueueURL)
	}
	if s.Authorize != nil {
		if err := s.Authorize(r.Context(), accessKeyID(r), r.Header.Get("X-Amz-Security-Token"), action, name); err != nil {
			return nil, &failure{http.StatusForbidden, "AccessDenied", err.Error()}
		}
	}
	q := s.Queues[name]
	if q == nil {
		return nil, &failure{http.StatusBadRequest, "QueueDoesNotExist", "The specified queue does not exist."}
	}
	return in.to(q, action, r)
}

func (in request) to(q *Queue, action string, r *http.Request) (any, *failure) {
	switch action {
	case "SendMessage":
		if in.MessageBody == "" || len(in.MessageBody) > maxMessage {
			return nil, invalid("a message has 1 to %d bytes", maxMessage)
		}
		return map[string]string{"MessageId": q.Send(in.MessageBody), "MD5OfMessageBody": checksum(in.MessageBody)}, nil
	case "ReceiveMessage":
		most := cmp.Or(in.MaxNumberOfMessages, 1)
		if most < 1 || most > maxBatch || in.WaitTimeSeconds < 0 || in.WaitTimeSeconds > maxWait {
			return nil, invalid("want 1 to %d messages and 0 to %d seconds", maxBatch, maxWait)
		}
		return received(q.Receive(r.Context(), most, time.Duration(in.WaitTimeSeconds)*time.Second)), nil
	case "DeleteMessage":
		q.Delete(in.ReceiptHandle)
		return map[string]string{}, nil
	case "GetQueueUrl":
		scheme := "https"
		if r.TLS == nil {
			scheme = "http"
		}
		return map[string]string{"QueueUrl": scheme + "://" + r.Host + "/000000000000/" + in.QueueName}, nil
	case "GetQueueAttributes":
		return map[string]any{"Attributes": q.attributes()}, nil
	}
	return nil, &failure{http.StatusBadRequest, "InvalidAction", fmt.Sprintf("this stand-in has no %s", action)}
}

func invalid(format string, args ...any) *failure {
	return &failure{http.StatusBadRequest, "InvalidParameterValue", fmt.Sprintf(format, args...)}
}

func received(messages []Message) any {
	var all []map[string]any
	for _, m := range messages {
		all = append(all, map[string]any{
			"MessageId": m.ID, "ReceiptHandle": m.Receipt, "Body": m.Body, "MD5OfBody": checksum(m.Body),
			"Attributes": map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.Received)},
		})
	}
	return map[string]any{"Messages": all}
}

// accessKeyID is in "AWS4-HMAC-SHA256 Credential=ID/date/region/sqs/aws4_request, ...".
func accessKeyID(r *http.Request) string {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	id, _, _ := strings.Cut(credential, "/")
	return id
}
