package queue_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
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
	for name, want := range map[string]string{"forbidden": "AccessDenied", "nowhere": "QueueDoesNotExist"} {
		_, err := c.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: aws.String("https://x/0/" + name), MessageBody: aws.String("m")})
		var api smithy.APIError
		if !errors.As(err, &api) || api.ErrorCode() != want {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
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
