package queue_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/queue"
)

func client(t *testing.T, server *queue.Server) *sqs.Client {
	t.Helper()
	web := httptest.NewServer(server)
	t.Cleanup(web.Close)
	return sqs.New(sqs.Options{
		Region: "eu-central-1", BaseEndpoint: &web.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA", SecretAccessKey: "s", SessionToken: "session"}, nil
		}),
	})
}

// The SDK itself checks the checksums.
func TestSendReceiveDelete(t *testing.T) {
	t.Parallel()
	q := &queue.Queue{Visibility: time.Hour}
	c := client(t, &queue.Server{Queues: map[string]*queue.Queue{"q": q}})
	url := aws.String("https://sqs.eu-central-1.amazonaws.com/000000000000/q")
	if _, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String("hello")}); err != nil {
		t.Fatal(err)
	}
	got, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 1})
	if err != nil || len(got.Messages) != 1 || *got.Messages[0].Body != "hello" {
		t.Fatalf("%+v, %v", got, err)
	}
	if again, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url}); err != nil || len(again.Messages) != 0 {
		t.Errorf("a hidden message came again: %+v, %v", again, err)
	}
	if _, err := c.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: got.Messages[0].ReceiptHandle}); err != nil || q.Len() != 0 {
		t.Errorf("%d left, %v", q.Len(), err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	c := client(t, &queue.Server{Authorize: func(_ context.Context, id, session, action, name string) error {
		if id != "AKIA" || session != "session" || action != "SendMessage" || name == "forbidden" {
			return errors.New("not you")
		}
		return nil
	}})
	for name, want := range map[string]string{"forbidden": "AccessDenied", "nowhere": "AWS.SimpleQueueService.NonExistentQueue"} {
		_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("https://x/0/" + name), MessageBody: aws.String("m")})
		var api smithy.APIError
		var nowhere *types.QueueDoesNotExist
		if !errors.As(err, &api) || api.ErrorCode() != want || errors.As(err, &nowhere) != (name == "nowhere") {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	c := client(t, &queue.Server{Queues: map[string]*queue.Queue{"q": {}}})
	url := aws.String("https://x/0/q")
	send := func(size int) error {
		_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: url, MessageBody: aws.String(strings.Repeat("m", size))})
		return err
	}
	receive := func(most, wait int32) error {
		_, err := c.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: most, WaitTimeSeconds: wait})
		return err
	}
	if err := errors.Join(send(1<<20), receive(10, 20)); err != nil {
		t.Error(err)
	}
	for i, err := range []error{send(0), send(1<<20 + 1), receive(11, 0), receive(-1, 0), receive(1, 21)} {
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != "InvalidParameterValue" {
			t.Errorf("case %d: %v", i, err)
		}
	}
}

func TestAttributesAndURL(t *testing.T) {
	t.Parallel()
	q := &queue.Queue{Visibility: time.Hour}
	c := client(t, &queue.Server{Queues: map[string]*queue.Queue{"q": q}})
	found, err := c.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q")})
	if err != nil || !strings.HasPrefix(*found.QueueUrl, "http://") || !strings.HasSuffix(*found.QueueUrl, "/q") {
		t.Fatalf("%+v, %v", found, err)
	}
	q.Send("one")
	q.Send("two")
	q.Receive(t.Context(), 1, 0)
	got, err := c.GetQueueAttributes(t.Context(), &sqs.GetQueueAttributesInput{QueueUrl: found.QueueUrl, AttributeNames: []types.QueueAttributeName{"All"}})
	if err != nil || got.Attributes["ApproximateNumberOfMessages"] != "1" || got.Attributes["ApproximateNumberOfMessagesNotVisible"] != "1" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPollAndDeadLetters(t *testing.T) {
	t.Parallel()
	dead := &queue.Queue{}
	q := &queue.Queue{Visibility: time.Millisecond, DeadLetters: dead, MaxReceive: 3}
	good, poison := q.Send("good"), q.Send("poison")
	seen := map[string]int{}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	queue.Poll(ctx, q, 10, func(_ context.Context, batch []queue.Message) ([]string, error) {
		for _, m := range batch {
			seen[m.ID]++
		}
		if seen[poison] == 3 {
			stop()
		}
		return []string{poison}, nil
	})
	if got := dead.Receive(t.Context(), 1, 0); len(got) != 0 {
		t.Error("dead before the last time was over")
	}
	q.Receive(t.Context(), 1, 20*time.Millisecond)
	if seen[good] != 1 || seen[poison] != 3 || q.Len() != 0 || dead.Len() != 1 {
		t.Errorf("seen %v, %d left, %d dead", seen, q.Len(), dead.Len())
	}
}
