package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// webRequest is a request as the host tells it. Its URL means nothing here: the host has chosen the function by it.
type webRequest struct {
	Method  string                    `json:"Method"`
	Headers map[string]jsontext.Value `json:"Headers"`
	Body    jsontext.Value            `json:"Body"`
}

// webResponse is what the host answers the web with.
type webResponse struct {
	StatusCode int               `json:"statusCode,string"`
	Headers    map[string]string `json:"headers"`
	Body       string            `json:"body"`
}

func (a *app) snapshots(ctx context.Context, received invocation) (outputs, error) {
	return serveWeb(ctx, received, "/v1/snapshots", a.door)
}

func (a *app) healthz(ctx context.Context, received invocation) (outputs, error) {
	return serveWeb(ctx, received, "/healthz", a.door)
}

// serveWeb lets a handler answer a request of the web, always at the function's own path.
func serveWeb(ctx context.Context, received invocation, path string, handler http.Handler) (outputs, error) {
	request, err := requestOf(ctx, received, path)
	if err != nil {
		return nil, err
	}
	response := &function.Answer{}
	handler.ServeHTTP(response, request)
	status, headers, body := response.Finish()
	return outputs{"res": webResponse{StatusCode: status, Headers: headers, Body: string(body)}}, nil
}

func requestOf(ctx context.Context, received invocation, path string) (*http.Request, error) {
	if received.tooLarge { // and so is what is in it
		return http.NewRequestWithContext(ctx, http.MethodPost, path, bytes.NewReader(make([]byte, snapshot.MaxBytes+2)))
	}
	value, err := received.value("req")
	if err != nil {
		return nil, err
	}
	var told webRequest
	if err := json.Unmarshal(value, &told, jsontext.AllowInvalidUTF8(true)); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvocation, err)
	}
	header, err := headerOf(told.Headers)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, told.Method, path, bytes.NewReader(bodyOf(told.Body, header.Get("Content-Type"))))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInvocation, err)
	}
	request.Header = header
	return request, nil
}

// headerOf takes a header's values as a list, which the host sends, or as one.
func headerOf(told map[string]jsontext.Value) (http.Header, error) {
	header := http.Header{}
	for name, value := range told {
		if value.Kind() == '"' {
			value = jsontext.Value("[" + string(value) + "]")
		}
		var values []string
		if err := json.Unmarshal(value, &values, jsontext.AllowInvalidUTF8(true)); err != nil {
			return nil, fmt.Errorf("%w: header %.80q: %w", errInvocation, name, err)
		}
		for _, value := range values {
			header.Add(name, value)
		}
	}
	return header, nil
}

// bodyOf undoes what the host does: it sends text as a string, and bytes, as which it takes two media types, in base64.
func bodyOf(told jsontext.Value, contentType string) []byte {
	var said string
	if json.Unmarshal(told, &said, jsontext.AllowInvalidUTF8(true)) != nil {
		return told
	}
	media, _, _ := mime.ParseMediaType(contentType) // "" where it is none
	if media != "application/octet-stream" && !strings.HasPrefix(media, "multipart/") {
		return []byte(said)
	}
	decoded, err := base64.StdEncoding.DecodeString(said)
	if err != nil {
		return nil
	}
	return decoded
}
