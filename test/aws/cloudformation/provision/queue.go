package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/queue"
)

type queues struct{ *Account }

func (k queues) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	name := r.Name("QueueName")
	made, err := k.describe(r.Properties)
	if err != nil {
		return cloudformation.Made{}, err
	}
	k.mu.Lock()
	k.queues[name] = made
	k.mu.Unlock()
	k.serve(k.host("sqs"), http.HandlerFunc(k.serveSQS))
	url := "https://" + k.host("sqs") + "/" + k.options.ID + "/" + name
	return cloudformation.Made{ID: url, Attributes: map[string]any{"Arn": k.arn("sqs", name), "QueueName": name, "QueueUrl": url}}, nil
}

// describe reads what plays a part of a queue's properties.
func (k queues) describe(properties map[string]any) (*queue.Queue, error) {
	made := &queue.Queue{}
	if seconds, ok := properties["VisibilityTimeout"].(float64); ok {
		made.Visibility = time.Duration(seconds) * time.Second
	}
	redrive, ok := properties["RedrivePolicy"].(map[string]any)
	if !ok {
		return made, nil
	}
	arn := fmt.Sprint(redrive["deadLetterTargetArn"])
	k.mu.Lock()
	made.DeadLetters = k.queues[arn[strings.LastIndex(arn, ":")+1:]]
	k.mu.Unlock()
	var err error
	if made.MaxReceive, err = strconv.Atoi(fmt.Sprint(redrive["maxReceiveCount"])); err != nil || made.DeadLetters == nil {
		return nil, fmt.Errorf("the redrive policy can't be had here: %v", redrive)
	}
	return made, nil
}

func (k queues) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{}, fmt.Errorf("queue %s can't be changed here", r.ID)
}

func (k queues) Delete(_ context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.queues, path.Base(r.ID))
	return nil
}

// serveSQS plays SQS. Whose a pod's credentials are only versitygw knows, so what some role with an identity provider may, each may.
func (a *Account) serveSQS(w http.ResponseWriter, r *http.Request) {
	server := queue.Server{Queues: map[string]*queue.Queue{}}
	a.mu.Lock()
	for name, q := range a.queues {
		server.Queues[name] = q
	}
	a.mu.Unlock()
	server.Authorize = func(_ context.Context, key, token, action, name string) error {
		a.mu.Lock()
		callers := []string{a.sessions[key]}
		if callers[0] == "" && token != "" {
			callers = a.federated()
		}
		a.mu.Unlock()
		err := fmt.Errorf("access key %q is of no role here", key)
		for _, caller := range callers {
			if err = a.Allowed(caller, "sqs:"+action, a.arn("sqs", name)); err == nil {
				return nil
			}
		}
		return err
	}
	server.ServeHTTP(w, r)
}

// federated are the roles of workloads. The mutex is held.
func (a *Account) federated() []string {
	var all []string
	for _, known := range a.roles {
		if known.federated {
			all = append(all, known.arn)
		}
	}
	return all
}

// mappings poll queues for functions.
type mappings struct{ *Account }

func (k mappings) Create(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) { //nolint:contextcheck // polling outlives the request
	arn := r.Text("EventSourceArn")
	name := arn[strings.LastIndex(arn, ":")+1:]
	f, err := k.find(r.Text("FunctionName"))
	if err != nil {
		return cloudformation.Made{}, err
	}
	for _, action := range []string{"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"} {
		if err := k.Allowed(f.roleARN(), action, arn); err != nil {
			return cloudformation.Made{}, fmt.Errorf("the function's execution role can't be used for the event source: %w", err)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	q := k.queues[name]
	batch, ok := r.Properties["BatchSize"].(float64)
	if q == nil || !ok || fmt.Sprint(r.Properties["FunctionResponseTypes"]) != "[ReportBatchItemFailures]" {
		return cloudformation.Made{}, fmt.Errorf("an event source mapping of %s with %v can't be had here", arn, r.Properties)
	}
	id := shortID()
	ctx, cancel := context.WithCancel(k.ctx)
	k.pollers[id] = cancel
	k.polling.Go(func() {
		queue.Poll(ctx, q, int(batch), func(ctx context.Context, batch []queue.Message) ([]string, error) { return f.batch(ctx, arn, batch) })
	})
	return cloudformation.Made{ID: id, Attributes: map[string]any{"Id": id}}, nil
}

func (k mappings) Update(_ context.Context, r cloudformation.Request) (cloudformation.Made, error) {
	return cloudformation.Made{}, fmt.Errorf("event source mapping %s can't be changed here", r.ID)
}

func (k mappings) Delete(_ context.Context, r cloudformation.Request) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if cancel, ok := k.pollers[r.ID]; ok {
		cancel()
		delete(k.pollers, r.ID)
	}
	return nil
}

// batch gives the function messages, and returns the IDs of those it wants again.
func (f *function) batch(ctx context.Context, arn string, messages []queue.Message) ([]string, error) {
	var records []events.SQSMessage
	for _, m := range messages {
		records = append(records, events.SQSMessage{
			MessageId: m.ID, ReceiptHandle: m.Receipt, Body: m.Body,
			Attributes: map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.Received)},
		})
	}
	event, err := lambdahost.SQSEvent(arn, records...)
	if err != nil {
		return nil, err
	}
	given, err := f.invoke(ctx, event)
	if err != nil {
		return nil, err
	}
	var answer events.SQSEventResponse
	if err := json.Unmarshal(given, &answer); err != nil {
		return nil, err
	}
	var failed []string
	for _, item := range answer.BatchItemFailures {
		failed = append(failed, item.ItemIdentifier)
	}
	return failed, nil
}
