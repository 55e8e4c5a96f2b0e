package functionshost

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// call is what the host posts.
type call struct {
	Data     map[string]any
	Metadata map[string]any
}

// reply is what it reads of the answer. Its reader does not mind case, and nor does this one.
type reply struct {
	Outputs     map[string]json.RawMessage
	Logs        []string
	ReturnValue json.RawMessage
}

// invoke posts an invocation to the handler, and judges the answer as the host does. The error is ErrInvocation.
func (h *Host) invoke(ctx context.Context, called function, data, metadata map[string]any) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout())
	defer cancel()
	response, err := h.post(ctx, called, data, metadata)
	if err != nil {
		return reply{}, fmt.Errorf("%w: %s: %w", ErrInvocation, called.name, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return reply{}, fmt.Errorf("%w: %s: %w", ErrInvocation, called.name, err)
	}
	answer, err := judge(response, body)
	if err != nil {
		return reply{}, fmt.Errorf("%w: %s: %w", ErrInvocation, called.name, err)
	}
	return answer, nil
}

func (h *Host) post(ctx context.Context, called function, data, metadata map[string]any) (*http.Response, error) {
	if metadata == nil {
		metadata = map[string]any{}
	}
	metadata["sys"] = map[string]any{"MethodName": called.name, "UtcNow": timestamp(time.Now()), "RandGuid": newID()}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(call{data, metadata}); err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.address+called.name, &body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set("X-Azure-Functions-InvocationId", newID())
	request.Header.Set("X-Azure-Functions-HostVersion", hostVersion)
	request.Header.Set("User-Agent", "Azure-Functions-Host/"+hostVersion)
	return h.client.Do(request)
}

// judge takes an answer, if the host would.
func judge(response *http.Response, body []byte) (reply, error) {
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return reply{}, fmt.Errorf("response status code does not indicate success: %s", response.Status)
	}
	media, _, err := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if err != nil || media != "application/json" && media != "text/json" {
		return reply{}, fmt.Errorf("no media type formatter for %q: want application/json", response.Header.Get("Content-Type"))
	}
	var answer *reply
	if len(bytes.TrimSpace(body)) > 0 {
		if err := json.Unmarshal(body, &answer); err != nil {
			return reply{}, fmt.Errorf("invalid answer: %w", err)
		}
	}
	if answer == nil {
		return reply{}, fmt.Errorf("an answer of nothing (%q): the host would wait until its functionTimeout", body)
	}
	return *answer, nil
}

// timeout is the plan's default without functionTimeout in host.json.
func (h *Host) timeout() time.Duration {
	if h.config.FunctionTimeout == 0 {
		return 5 * time.Minute
	}
	return time.Duration(h.config.FunctionTimeout)
}

// timerInfo is the trigger's value of a timer that is monitored.
func timerInfo(now time.Time) map[string]any {
	last := now.Truncate(5 * time.Minute)
	return map[string]any{
		"Schedule":       map[string]any{"AdjustForDST": true},
		"ScheduleStatus": map[string]any{"Last": timestamp(last), "Next": timestamp(last.Add(5 * time.Minute)), "LastUpdated": timestamp(last)},
		"IsPastDue":      false,
	}
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000Z") }

// text is how the host puts a string into an invocation: as JSON that holds JSON.
func text(value string) string {
	var encoded strings.Builder
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // a string can be
	return strings.TrimSuffix(encoded.String(), "\n")
}

func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
