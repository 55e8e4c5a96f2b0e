package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/go-json-experiment/json"
)

// serve answers a request that came through an HTTP API or a Function URL: both send and take format 2.0.
func (h *handler) serve(ctx context.Context, payload []byte) ([]byte, error) {
	if h.unusable != nil {
		return nil, h.unusable
	}
	event, err := decode[events.APIGatewayV2HTTPRequest](payload)
	if err != nil {
		return nil, err
	}
	request, err := requestOf(ctx, event)
	if err != nil {
		return nil, err
	}
	response := &response{header: http.Header{}}
	h.door.ServeHTTP(response, request)
	return json.Marshal(response.answer(request.Method))
}

func requestOf(ctx context.Context, event events.APIGatewayV2HTTPRequest) (*http.Request, error) {
	if event.Version != "2.0" {
		return nil, fmt.Errorf("%w: payload format %.10q, want 2.0: set PayloadFormatVersion of the API's integration", errEvent, event.Version)
	}
	var body io.Reader = strings.NewReader(event.Body)
	if event.IsBase64Encoded {
		body = base64.NewDecoder(base64.StdEncoding, body) // as it is read: never more than the reader's limit
	}
	request, err := http.NewRequestWithContext(ctx, event.RequestContext.HTTP.Method, "/", body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEvent, err)
	}
	request.Host = event.RequestContext.DomainName
	request.URL = &url.URL{Scheme: "https", Host: request.Host, Path: event.RawPath, RawQuery: event.RawQueryString}
	request.RequestURI = request.URL.RequestURI()
	request.RemoteAddr = net.JoinHostPort(event.RequestContext.HTTP.SourceIP, "0")
	for name, value := range event.Headers {
		request.Header.Set(name, value)
	}
	return request, nil
}

// response collects what a handler answers.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

func (r *response) Write(data []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(data)
}

// answer does what a server does last, and writes text as text: anything else would be mangled on its way.
func (r *response) answer(method string) events.LambdaFunctionURLResponse {
	r.WriteHeader(http.StatusOK)
	if r.header.Get("Content-Type") == "" && r.body.Len() > 0 {
		r.header.Set("Content-Type", http.DetectContentType(r.body.Bytes()))
	}
	answer := events.LambdaFunctionURLResponse{StatusCode: r.status, Headers: map[string]string{}}
	for name, values := range r.header {
		answer.Headers[name] = strings.Join(values, ", ")
	}
	switch {
	case method == http.MethodHead:
	case utf8.Valid(r.body.Bytes()):
		answer.Body = r.body.String()
	default:
		answer.Body, answer.IsBase64Encoded = base64.StdEncoding.EncodeToString(r.body.Bytes()), true
	}
	return answer
}
