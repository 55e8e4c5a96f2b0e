// Package queue is a stand-in for Amazon SQS for tests: the JSON protocol of the SDK, standard queues with visibility timeout and dead-letter
// queue, and a poller that does what Lambda's event source mapping does. Checked with the SDK itself; Amazon's own service was not at hand.
package queue

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Message is what a receiver gets.
type Message struct {
	ID, Receipt, Body string
	Received          int // times, this one included
}

// Queue is one standard queue. Its fields are set before its first use.
type Queue struct {
	Visibility  time.Duration // for which a received message is hidden; 30 s if zero
	DeadLetters *Queue        // takes what was received MaxReceive times and not deleted
	MaxReceive  int

	mu       sync.Mutex
	messages []*message
	arrived  chan struct{}
}

type message struct {
	Message

	hiddenUntil time.Time
}

// Send adds a message and gives its ID.
func (q *Queue) Send(body string) string {
	id := rand.Text()
	q.add(&message{Message: Message{ID: id, Body: body}})
	return id
}

func (q *Queue) add(m *message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, m)
	if q.arrived != nil {
		close(q.arrived)
		q.arrived = nil
	}
}

// Receive waits up to a time for messages that are not hidden, and hides them. It returns none if the time is over or the context
// ends.
func (q *Queue) Receive(ctx context.Context, most int, wait time.Duration) []Message {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		taken, next, arrived := q.take(most)
		if len(taken) > 0 || ctx.Err() != nil {
			return taken
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-arrived:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take is Receive without waiting. It also tells when to look again.
func (q *Queue) take(most int) (taken []Message, next time.Duration, arrived <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	next = time.Minute
	now := time.Now()
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if m.hiddenUntil.After(now) {
			next = min(next, m.hiddenUntil.Sub(now))
			return false
		}
		if q.DeadLetters != nil && m.Received >= q.MaxReceive {
			q.DeadLetters.add(&message{Message: Message{ID: m.ID, Body: m.Body}})
			return true
		}
		if len(taken) < most {
			m.Received++
			m.Receipt = rand.Text()
			m.hiddenUntil = now.Add(q.visibility())
			taken = append(taken, m.Message)
		}
		return false
	})
	if q.arrived == nil {
		q.arrived = make(chan struct{})
	}
	return taken, next, q.arrived
}

func (q *Queue) visibility() time.Duration {
	if q.Visibility == 0 {
		return 30 * time.Second
	}
	return q.Visibility
}

// Delete forgets the message that a receipt is of. An older receipt than the last does nothing.
func (q *Queue) Delete(receipt string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool { return m.Receipt == receipt })
}

// Len counts the messages, hidden ones included.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages)
}

// attributes are those of SQS that there are here.
func (q *Queue) attributes() map[string]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	hidden, now := 0, time.Now()
	for _, m := range q.messages {
		if m.hiddenUntil.After(now) {
			hidden++
		}
	}
	return map[string]string{
		"ApproximateNumberOfMessages":           strconv.Itoa(len(q.messages) - hidden),
		"ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden),
		"VisibilityTimeout":                     strconv.Itoa(int(q.visibility().Seconds())),
	}
}

// Poll hands batches to a function until the context ends, and deletes what did not fail, as an event source mapping with
// ReportBatchItemFailures does: the function names the IDs that failed, or fails as a whole.
func Poll(ctx context.Context, q *Queue, batch int, handle func(context.Context, []Message) (failed []string, err error)) {
	for ctx.Err() == nil {
		messages := q.Receive(ctx, batch, 20*time.Second)
		if len(messages) == 0 {
			continue
		}
		failed, err := handle(ctx, messages)
		if err != nil {
			continue // all of them come again
		}
		for _, m := range messages {
			if !slices.Contains(failed, m.ID) {
				q.Delete(m.Receipt)
			}
		}
	}
}

func checksum(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}
