package functionshost

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"
)

const (
	pollInterval = 50 * time.Millisecond // the host begins with 100 ms and goes up to maxPollingInterval
	leaseTime    = 10 * time.Minute      // for which a message that is being processed is hidden
)

// queue is one that a function is triggered by.
type queue struct {
	host     *Host
	function function
	messages *azqueue.QueueClient
	poison   *azqueue.QueueClient
}

func (h *Host) openQueues() ([]*queue, error) {
	var queues []*queue
	for _, f := range h.functions {
		if f.trigger.Type != "queueTrigger" {
			continue
		}
		opened, err := h.openQueue(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		queues = append(queues, opened)
	}
	return queues, nil
}

// openQueue finds the account as the host does for a connection by identity: in app settings that begin with the connection's name.
func (h *Host) openQueue(f function) (*queue, error) {
	setting := func(name string) string { return h.options.Settings[f.trigger.Connection+"__"+name] }
	service, err := url.Parse(setting("queueServiceUri"))
	if err != nil || service.Scheme != "https" {
		return nil, fmt.Errorf("the app setting %s__queueServiceUri is %q, want https://ACCOUNT.queue.core.windows.net", f.trigger.Connection, service)
	}
	if setting("credential") != "managedidentity" || setting("clientId") == "" {
		return nil, fmt.Errorf("the app settings %[1]s__credential and %[1]s__clientId name no user-assigned identity", f.trigger.Connection)
	}
	options := &azqueue.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: h.options.Client}}
	identity := appIdentity{settings: h.options.Settings, client: setting("clientId")}
	messages, err := azqueue.NewQueueClient(service.JoinPath(f.trigger.QueueName).String(), identity, options)
	if err != nil {
		return nil, err
	}
	poison, err := azqueue.NewQueueClient(service.JoinPath(f.trigger.QueueName+"-poison").String(), identity, options)
	return &queue{host: h, function: f, messages: messages, poison: poison}, err
}

// poll takes messages until the host ends.
func (q *queue) poll(ctx context.Context) {
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		taken, err := q.messages.DequeueMessages(ctx, &azqueue.DequeueMessagesOptions{
			NumberOfMessages: to.Ptr(q.host.config.Extensions.Queues.Batch), VisibilityTimeout: to.Ptr(int32(leaseTime.Seconds())),
		})
		if err == nil { // the host, too, only logs what storage says, and asks again
			for _, message := range taken.Messages {
				q.process(ctx, message)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

// process deletes a message when it was processed, hides it when it was not, and puts it beside when that happened too often.
func (q *queue) process(ctx context.Context, message *azqueue.DequeuedMessage) {
	said := *message.MessageText
	readable := true
	if q.host.config.Extensions.Queues.Encoding == "base64" {
		decoded, err := base64.StdEncoding.DecodeString(said)
		said, readable = string(decoded), err == nil
	}
	if readable {
		data := map[string]any{q.function.trigger.Name: text(said)}
		if _, err := q.host.invoke(ctx, q.function, data, metadataOf(message, said)); err == nil {
			_, _ = q.messages.DeleteMessage(ctx, *message.MessageID, *message.PopReceipt, nil)
			return
		}
	}
	if !readable || *message.DequeueCount >= q.host.config.Extensions.Queues.MaxDequeue {
		q.putBeside(ctx, message)
		return
	}
	again := time.Duration(q.host.config.Extensions.Queues.Visibility)
	if q.host.options.RetryAfter > 0 {
		again = q.host.options.RetryAfter
	}
	_, _ = q.messages.UpdateMessage(ctx, *message.MessageID, *message.PopReceipt, *message.MessageText, &azqueue.UpdateMessageOptions{
		VisibilityTimeout: to.Ptr(int32(again.Seconds())),
	})
}

func (q *queue) putBeside(ctx context.Context, message *azqueue.DequeuedMessage) {
	if _, err := q.poison.EnqueueMessage(ctx, *message.MessageText, nil); err != nil {
		if _, err := q.poison.Create(ctx, nil); err != nil {
			return // it comes back
		}
		if _, err := q.poison.EnqueueMessage(ctx, *message.MessageText, nil); err != nil {
			return
		}
	}
	if _, err := q.messages.DeleteMessage(ctx, *message.MessageID, *message.PopReceipt, nil); err == nil {
		q.host.poison.add()
	}
}

// metadataOf has the message's properties as the host writes them: numbers and strings as JSON within JSON. The members of a message that is an
// object are among them.
func metadataOf(message *azqueue.DequeuedMessage, said string) map[string]any {
	metadata := map[string]any{}
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(said), &members) == nil {
		for name, value := range members {
			metadata[name] = string(value)
		}
	}
	metadata["DequeueCount"] = strconv.FormatInt(*message.DequeueCount, 10)
	metadata["Id"], metadata["PopReceipt"] = text(*message.MessageID), text(*message.PopReceipt)
	metadata["InsertionTime"], metadata["ExpirationTime"] = timestamp(*message.InsertionTime), timestamp(*message.ExpirationTime)
	metadata["NextVisibleTime"] = timestamp(*message.TimeNextVisible)
	return metadata
}

// appIdentity asks for tokens where the platform gives them to the app.
type appIdentity struct {
	settings map[string]string
	client   string
}

// GetToken implements azcore.TokenCredential.
func (i appIdentity) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	parameters := url.Values{
		"api-version": {"2019-08-01"}, "client_id": {i.client}, "resource": {strings.TrimSuffix(options.Scopes[0], "/.default")},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.settings["IDENTITY_ENDPOINT"]+"?"+parameters.Encode(), nil)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	request.Header.Set("X-IDENTITY-HEADER", i.settings["IDENTITY_HEADER"])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	defer response.Body.Close()
	var answer struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_on,string"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return azcore.AccessToken{}, fmt.Errorf("the identity %s: %s: %w", i.client, response.Status, err)
	}
	if answer.Token == "" {
		return azcore.AccessToken{}, fmt.Errorf("no token for the identity %s: %s", i.client, response.Status)
	}
	return azcore.AccessToken{Token: answer.Token, ExpiresOn: time.Unix(answer.Expires, 0)}, nil
}
