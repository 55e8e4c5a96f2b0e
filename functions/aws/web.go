package main

import (
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

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
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
	response := &function.Answer{}
	h.door.ServeHTTP(response, request)
	return json.Marshal(answerOf(response, request.Method))
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

// answerOf writes text as text: anything else would be mangled on its way.
func answerOf(response *function.Answer, method string) events.LambdaFunctionURLResponse {
	status, headers, body := response.Finish()
	answer := events.LambdaFunctionURLResponse{StatusCode: status, Headers: headers}
	switch {
	case method == http.MethodHead:
	case utf8.Valid(body):
		answer.Body = string(body)
	default:
		answer.Body, answer.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	return answer
}
