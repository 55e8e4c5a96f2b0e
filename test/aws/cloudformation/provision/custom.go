package provision

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

const (
	defaultServiceTimeout = time.Hour // CloudFormation's own
	maxAnswer             = 4096      // bytes, CloudFormation's own
)

// customs are resources that a function makes. It is invoked and its answer awaited at a URL that only it is told.
type customs struct{ *Account }

// answer is what a function tells CloudFormation.
type answer struct {
	Status, Reason, PhysicalResourceId, StackId, RequestId, LogicalResourceId string //nolint:revive // CloudFormation's names

	Data map[string]any
}

func shortID() string { return strings.ToLower(rand.Text()[:10]) }

func (a *Account) responsesHost() string {
	return "cloudformation-custom-resource-response-" + strings.ReplaceAll(a.options.Region, "-", "") + "." + a.host("s3")
}

// takeAnswer receives one answer at each URL that was given out.
func (a *Account) takeAnswer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAnswer))
	var given answer
	if err == nil {
		err = json.Unmarshal(body, &given)
	}
	token := strings.TrimPrefix(r.URL.Path, "/")
	a.mu.Lock()
	waiting, ok := a.answers[token]
	delete(a.answers, token)
	a.mu.Unlock()
	if !ok || err != nil || r.Method != http.MethodPut || r.Header.Get("Content-Type") != "" {
		http.Error(w, "no answer is awaited here, or not this one", http.StatusForbidden)
		return
	}
	waiting <- given
}

func (k customs) Create(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return k.ask(ctx, "Create", r)
}

func (k customs) Update(ctx context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return k.ask(ctx, "Update", r)
}

func (k customs) Delete(ctx context.Context, r cloudformation.Request) error {
	_, err := k.ask(ctx, "Delete", r)
	return err
}

// ask invokes the function and waits.
func (k customs) ask(ctx context.Context, what string, r cloudformation.Request) (cloudformation.Made, error) {
	f, err := k.find(r.Text("ServiceToken"))
	if err != nil {
		return cloudformation.Made{}, err
	}
	token := rand.Text()
	waiting := make(chan answer, 1)
	k.mu.Lock()
	k.answers[token] = waiting
	k.mu.Unlock()
	event := map[string]any{
		"RequestType": what, "RequestId": rand.Text(), "ResponseURL": "https://" + k.responsesHost() + "/" + token, "StackId": r.StackID,
		"LogicalResourceId": r.LogicalID, "ResourceType": r.Type, "ServiceToken": f.arn, "ResourceProperties": asText(r.Properties),
	}
	if r.ID != "" {
		event["PhysicalResourceId"] = r.ID
	}
	if r.Old != nil {
		event["OldResourceProperties"] = asText(r.Old)
	}
	payload, err := json.Marshal(event)
	if err != nil {
		return cloudformation.Made{}, err
	}
	timer := time.NewTimer(serviceTimeout(r.Properties))
	defer timer.Stop()
	invoked := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, err := f.invoke(ctx, payload)
		invoked <- err
	}()
	return await(ctx, waiting, invoked, timer.C)
}

// await takes the answer. CloudFormation hears nothing of a function that fails without one; here a test need not wait as long.
func await(ctx context.Context, waiting <-chan answer, invoked <-chan error, timeout <-chan time.Time) (cloudformation.Made, error) {
	select {
	case err := <-invoked:
		select {
		case given := <-waiting:
			return given.made()
		default:
			return cloudformation.Made{}, errors.Join(errors.New("CloudFormation did not receive a response from your Custom Resource"), err)
		}
	case given := <-waiting:
		made, err := given.made()
		if failed := <-invoked; err == nil { // and the function is free again
			err = failed
		}
		return made, err
	case <-timeout:
		return cloudformation.Made{}, errors.New("CloudFormation did not receive a response from your Custom Resource: the service timeout is over")
	case <-ctx.Done():
		return cloudformation.Made{}, ctx.Err()
	}
}

func (a answer) made() (cloudformation.Made, error) {
	made := cloudformation.Made{ID: a.PhysicalResourceId, Attributes: a.Data}
	switch {
	case a.Status == "FAILED":
		return made, fmt.Errorf("Received response status [FAILED] from custom resource. Message returned: %s", a.Reason) //nolint:staticcheck // CloudFormation's words
	case a.Status != "SUCCESS" || a.PhysicalResourceId == "":
		return made, fmt.Errorf("invalid response from custom resource: status %q, physical ID %q", a.Status, a.PhysicalResourceId)
	}
	return made, nil
}

func serviceTimeout(properties map[string]any) time.Duration {
	seconds, err := strconv.Atoi(fmt.Sprint(properties["ServiceTimeout"]))
	if err != nil {
		return defaultServiceTimeout
	}
	return time.Duration(seconds) * time.Second
}

// asText makes every scalar text, as CloudFormation does for custom resources.
func asText(value any) any {
	switch v := value.(type) {
	case map[string]any:
		result := map[string]any{}
		for key, item := range v {
			result[key] = asText(item)
		}
		return result
	case []any:
		result := make([]any, 0, len(v))
		for _, item := range v {
			result = append(result, asText(item))
		}
		return result
	case nil:
		return nil
	}
	return fmt.Sprint(value)
}
