package exporter

import (
	"math/rand/v2"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// What came of an attempt to send.
type outcome int

const (
	accepted   outcome = iota
	superseded         // a publisher has something newer: read again, and go on from its number
	refused            // a person has to act
	failed             // try again
	queued             // a queue has it; as good as accepted, until the next heartbeat
)

// pauses double with every attempt in a row that ends in the same way.
var pauses = map[outcome]struct{ first, most time.Duration }{
	superseded: {time.Second, time.Minute},
	refused:    {time.Minute, 10 * time.Minute},
	failed:     {time.Second, time.Minute},
}

// schedule decides when a destination hears of a reading: at once of news, at the heartbeat of the same again, and after a pause of what
// it did not accept. News is what differs from the last attempt, so a change is never held up by a pause. It is pure; time is an argument.
type schedule struct {
	heartbeat time.Duration
	jitter    func(time.Duration) time.Duration

	accepted  *Reading // what the publisher knows
	at        time.Time
	tried     *Reading // the last attempt, if it was not accepted
	last      outcome
	pause     time.Duration
	notBefore time.Time
}

func newSchedule(heartbeat time.Duration) schedule {
	return schedule{heartbeat: heartbeat, jitter: func(d time.Duration) time.Duration {
		return d*3/4 + rand.N(d/2) //nolint:gosec // to spread retries, not to keep a secret
	}}
}

// due tells when to send a reading. It is false if that reading is never to be sent.
func (s *schedule) due(reading *Reading, now time.Time) (time.Time, bool) {
	switch {
	case reading == nil || !now.Before(reading.Began.Add(snapshot.Lifetime)):
		return time.Time{}, false
	case s.tried != nil && s.last == superseded && reading == s.tried:
		return time.Time{}, false // only a newer reading can follow what the publisher has
	case s.tried != nil && reading.sameAs(s.tried):
		return s.notBefore, true
	case s.tried != nil, !reading.sameAs(s.accepted):
		return now, true
	}
	return s.at.Add(s.heartbeat), true
}

// done takes note of an attempt. A publisher may ask for a longer pause.
func (s *schedule) done(reading *Reading, came outcome, now time.Time, atLeast time.Duration) {
	if came == accepted || came == queued {
		s.accepted, s.at, s.tried, s.pause = reading, now, nil, 0
		return
	}
	again := s.tried != nil && s.last == came
	s.tried, s.last, s.notBefore = reading, came, now
	limits := pauses[came]
	switch {
	case came == superseded && !again:
		s.pause = 0 // once at once
		return
	case !again || s.pause == 0:
		s.pause = limits.first
	default:
		s.pause = min(2*s.pause, limits.most)
	}
	s.notBefore = now.Add(max(s.jitter(s.pause), min(atLeast, limits.most)))
}
