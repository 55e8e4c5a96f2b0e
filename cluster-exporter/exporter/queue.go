package exporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// queue is a cloud's queue that a publisher reads. The exporter logs in to it with its own token and stores no credential; nothing else of the
// machine may log in for it: no environment, no files, no metadata service.
type queue interface {
	// put leaves an envelope in the queue. The error says who refused, why and what would help, and is safe to log.
	put(ctx context.Context, envelope []byte) error
	// close ends connections that wait.
	close()
}

// queueSettings is one kind of queue as people write it.
type queueSettings interface {
	check(d *settings.Document, at []any, publisher string) error
	open(s Settings) (queue, error)
}

// queues are those of a destination by the name of the setting; there is at most one in settings that were checked.
func (destination Destination) queues() map[string]queueSettings {
	all := map[string]queueSettings{}
	if q := destination.SQS; q != nil {
		all["sqs"] = *q
	}
	if q := destination.PubSub; q != nil {
		all["pubsub"] = *q
	}
	if q := destination.StorageQueue; q != nil {
		all["storageQueue"] = *q
	}
	return all
}

// queueSender puts envelopes into a queue, and where that is refused goes by the webhook. After a rotation that nobody announced, the cloud
// does not know the key that signs the login: only the webhook can take the snapshot that makes it known.
type queueSender struct {
	queue   queue
	webhook *webhook // nil without
}

func (q *queueSender) send(ctx context.Context, envelope []byte) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := q.queue.put(limited, envelope)
	if err == nil {
		return answer{Queued: true}, nil
	}
	if q.webhook == nil || ctx.Err() != nil {
		return answer{}, err
	}
	a, sent := q.webhook.send(ctx, envelope)
	a.Detour = err
	return a, sent
}

func (q *queueSender) close() {
	q.queue.close()
	if q.webhook != nil {
		q.webhook.close()
	}
}

// tokenFile is a file with the token to log in with, which the kubelet renews.
type tokenFile string

// tokenError is that there is none.
type tokenError struct{ error }

func (file tokenFile) read() (string, error) {
	token, err := readToken(string(file))
	if err != nil {
		return "", tokenError{err}
	}
	return token, nil
}

func noToken(cloud, audience string, err error) error {
	return fmt.Errorf("no token to log in to %s with: %w: is the projected volume with the audience %s mounted there?", cloud, err, audience)
}

// unanswered is that a service could not be asked, or that what answered is not the service.
func unanswered(service string, err error) error {
	return fmt.Errorf("no answer of %s: %s: may the exporter reach it, directly or by the settings' proxy?", service, harmless(withoutURL(err).Error(), 300))
}

// refusal is what a service says when it does not do what it is asked.
type refusal struct{ service, code, message string }

// with adds what to do about it.
func (r refusal) with(remedy string) error {
	words := []string{r.service + " refused", harmless(r.code, 60)}
	if message := strings.TrimSuffix(harmless(r.message, 200), "."); message != "" {
		words = append(words, message)
	}
	return errors.New(strings.Join(append(words, remedy), ": "))
}

// oauth reads an error of RFC 6749 section 5.2. What is none stays what it was.
func (r refusal) oauth(body []byte) refusal {
	var said struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &said) == nil && said.Error != "" {
		r.code, r.message = said.Error, said.Description
	}
	return r
}

// harmless is what a message says on one line, without tokens: it may repeat what is not valid.
func harmless(message string, most int) string {
	message = looksLikeToken.ReplaceAllLiteralString(message, "(token)")
	return cut(strings.Join(strings.Fields(message), " "), most)
}

// looksLikeToken finds JWTs, which begin with an encoded {", and Google's access tokens.
var looksLikeToken = regexp.MustCompile(`(?:eyJ|ya29\.)[-_=.A-Za-z0-9]+`)
