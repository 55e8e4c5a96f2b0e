package lambdahost

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
)

// HTTPEvent is the event that an HTTP API (payload format 2.0) makes of a request. A body that is not text travels as base64.
func HTTPEvent(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxPayload))
	if err != nil {
		return nil, err
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return nil, fmt.Errorf("the request's remote address: %w", err)
	}
	event := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: "$default", RawPath: r.URL.Path, RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{"host": r.Host}, QueryStringParameters: map[string]string{}, Body: string(body),
		RequestContext: events.APIGatewayV2HTTPRequestContext{
			RouteKey: "$default", Stage: "$default", AccountID: "anonymous", APIID: "api", DomainName: r.Host,
			HTTP: events.APIGatewayV2HTTPRequestContextHTTPDescription{
				Method: r.Method, Path: r.URL.Path, Protocol: r.Proto, SourceIP: address, UserAgent: r.UserAgent(),
			},
		},
	}
	for name, values := range r.Header {
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	for name, values := range r.URL.Query() {
		event.QueryStringParameters[name] = strings.Join(values, ",")
	}
	if !textual(r.Header.Get("Content-Type")) || !utf8.Valid(body) {
		event.Body, event.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return json.Marshal(event)
}

// textual content types are passed on as they are.
func textual(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	switch media {
	case "application/json", "application/javascript", "application/xml", "application/vnd.api+json":
		return true
	}
	return strings.HasPrefix(media, "text/")
}

// ServeHTTP plays the HTTP API in front of the function. A function that fails is answered for with 500, as the API does.
func (h *Host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := h.request(r)
	if err != nil {
		_, _ = h.log.Write([]byte("HTTP API: " + err.Error() + "\n"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"message":"Internal Server Error"}`)
		return
	}
	body := []byte(answer.Body)
	if answer.IsBase64Encoded {
		body, _ = base64.StdEncoding.DecodeString(answer.Body) // checked by request
	}
	for name, value := range answer.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.StatusCode)
	_, _ = w.Write(body)
}

func (h *Host) request(r *http.Request) (events.APIGatewayV2HTTPResponse, error) {
	var answer events.APIGatewayV2HTTPResponse
	event, err := HTTPEvent(r)
	if err != nil {
		return answer, err
	}
	data, err := h.Invoke(r.Context(), event)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return answer, err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 599 {
		return answer, fmt.Errorf("the function answered the status %d", answer.StatusCode)
	}
	if answer.IsBase64Encoded {
		_, err = base64.StdEncoding.DecodeString(answer.Body)
	}
	return answer, err
}

// SQSEvent is the event that the event source mapping of a queue makes of a batch. Each message has its ID and body, and what else the
// queue knows of it.
func SQSEvent(queueARN string, messages ...events.SQSMessage) ([]byte, error) {
	batch := events.SQSEvent{Records: []events.SQSMessage{}}
	for _, m := range messages {
		m.EventSource, m.EventSourceARN = "aws:sqs", queueARN
		batch.Records = append(batch.Records, m)
	}
	return json.Marshal(batch)
}
