package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-lambda-go/cfn"
	"github.com/go-json-experiment/json"
)

const (
	responseTimeout  = 3 * time.Second
	responseAttempts = 2
)

// newResponseClient makes the client that talks to CloudFormation, which never redirects. The one of package cfn would wait forever.
func newResponseClient() *http.Client {
	return &http.Client{
		Timeout:       responseTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// respond puts the answer where CloudFormation waits for it. The URL carries a signature, so no error names it.
func (h *handler) respond(ctx context.Context, to string, answer *cfn.Response) ([]byte, error) {
	body, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	for range responseAttempts {
		if err = h.put(ctx, to, body); err == nil {
			return json.Marshal(status{string(answer.Status)})
		}
	}
	return nil, fmt.Errorf("CloudFormation could not be told %s: %w", answer.Status, err)
}

func (h *handler) put(ctx context.Context, to string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, to, bytes.NewReader(body))
	if err != nil {
		return errors.New("its ResponseURL is no URL")
	}
	response, err := h.responses.Do(request) // without a Content-Type, because the URL is signed without
	var named *url.Error
	if errors.As(err, &named) {
		return named.Err
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s, want 200", response.Status)
	}
	return nil
}
