package exporter

import (
	"context"
	"time"
)

// sender is one kind of destination.
type sender interface {
	// send delivers an envelope. The answer is the publisher's, whatever it says; the error means that there was none, or one that is
	// not a publisher's, and is safe to log.
	send(ctx context.Context, envelope []byte) (answer, error)
	// close ends connections that wait.
	close()
}

func newSender(settings Settings, destination Destination) (sender, error) {
	var door *webhook
	if destination.Webhook != nil {
		var err error
		if door, err = newWebhook(settings, *destination.Webhook); err != nil {
			return nil, err
		}
	}
	for _, kind := range destination.queues() {
		queue, err := kind.open(settings)
		return &queueSender{queue: queue, webhook: door}, err
	}
	return door, nil
}

// worker keeps one publisher up to date. Its backlog is one reading, the newest.
type worker struct {
	publisher string
	sender    sender
	signer    *signer
	report    *reporter
	now       func() time.Time
	readAgain func()

	newest   chan *Reading
	schedule schedule
	seq      int64 // the highest that was used, or that the publisher has
}

// maxAhead bounds the sequence number that a publisher can make a cluster go on from: the time to come in milliseconds.
const maxAhead = 24 * time.Hour

// maxReadingAge is how old a reading may be to be sent, again or at a heartbeat. While the API servers can't be read there is nothing to say, and
// the publisher's alarm about the silence is right.
const maxReadingAge = 2 * time.Minute

// offer replaces a reading that still waits. Only one goroutine offers.
func (w *worker) offer(reading *Reading) {
	select {
	case <-w.newest:
	default:
	}
	w.newest <- reading
}

func (w *worker) run(ctx context.Context) {
	var reading *Reading
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer w.sender.close()
	for {
		if wait, ok := w.next(reading); ok {
			if wait == 0 {
				w.send(ctx, reading)
				continue
			}
			timer.Reset(wait)
		}
		select {
		case <-ctx.Done():
			return
		case reading = <-w.newest:
		case <-timer.C:
		}
	}
}

// next tells how long to wait before a reading is sent. It is false if the reading would be too old then, or is not to be sent at all.
func (w *worker) next(reading *Reading) (time.Duration, bool) {
	now := w.now()
	at, ok := w.schedule.due(reading, now)
	if !ok {
		return 0, false
	}
	if at.Before(now) {
		at = now
	}
	return at.Sub(now), at.Sub(reading.Began) <= maxReadingAge
}

// send signs afresh, so that a retry is never late, and judges what comes of it.
func (w *worker) send(ctx context.Context, reading *Reading) {
	w.seq = max(w.seq+1, reading.Began.UnixMilli())
	envelope, err := w.signer.sign(ctx, reading, w.publisher, w.seq)
	var a answer
	if err == nil {
		a, err = w.sender.send(ctx, envelope)
	}
	if ctx.Err() != nil {
		w.schedule.done(reading, failed, w.now(), 0)
		return
	}
	came := a.outcome(err)
	if a.Code == codeFork && (w.schedule.tried == nil || w.schedule.last != superseded) {
		came = superseded // replicas that read in the same millisecond have one number; a second time in a row it is something else
	}
	w.schedule.done(reading, came, w.now(), a.RetryAfter)
	w.report.delivery(w.publisher, came, a, err, reading)
	if came == superseded {
		w.goOnFrom(a.Seq)
		if w.schedule.pause == 0 {
			w.readAgain()
		}
	}
}

func (w *worker) goOnFrom(seq int64) {
	if seq <= w.now().Add(maxAhead).UnixMilli() {
		w.seq = max(w.seq, seq)
	}
}
