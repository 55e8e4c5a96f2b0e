package exporter

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var (
	start    = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	key1     = snapshottest.NewKey().Key
	key2     = snapshottest.NewKey().Key
	noJitter = func(d time.Duration) time.Duration { return d }
)

func readingAt(after time.Duration, keys ...jwks.Key) *Reading {
	return &Reading{Began: start.Add(after), APIServers: snapshot.APIServers{Listed: 1, Read: 1}, Keys: keys}
}

// Each case is a row of attempts of one reading, one after another as they become due, and when the next is due after the last.
func TestScheduleOfTheSameReading(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		came    []outcome
		atLeast time.Duration
		next    time.Duration
	}{
		"first":                           {nil, 0, 0},
		"accepted":                        {[]outcome{accepted}, 0, 10 * time.Minute},
		"failed":                          {[]outcome{failed}, 0, time.Second},
		"failed twice":                    {[]outcome{failed, failed}, 0, 2 * time.Second},
		"failed often":                    {[]outcome{failed, failed, failed, failed, failed, failed, failed, failed}, 0, time.Minute},
		"asked to wait":                   {[]outcome{failed}, 5 * time.Second, 5 * time.Second},
		"asked to wait for ever":          {[]outcome{failed}, time.Hour, time.Minute},
		"refused":                         {[]outcome{refused}, 0, time.Minute},
		"refused often":                   {[]outcome{refused, refused, refused, refused, refused, refused}, 0, 10 * time.Minute},
		"refused, then failed":            {[]outcome{refused, refused, failed}, 0, time.Second},
		"failed, then refused":            {[]outcome{failed, failed, refused}, 0, time.Minute},
		"accepted after failures":         {[]outcome{failed, failed, accepted}, 0, 10 * time.Minute},
		"failed after being accepted":     {[]outcome{failed, failed, accepted, failed}, 0, time.Second},
		"superseded":                      {[]outcome{superseded}, 0, 0},
		"superseded, refused":             {[]outcome{superseded, refused}, 0, time.Minute},
		"superseded again":                {[]outcome{superseded, superseded}, 0, time.Second},
		"superseded again and again":      {[]outcome{superseded, superseded, superseded}, 0, 2 * time.Second},
		"superseded, accepted, suspended": {[]outcome{superseded, accepted, superseded}, 0, 0},
	} {
		s := newSchedule(10 * time.Minute)
		s.jitter = noJitter
		now := start
		for _, came := range test.came {
			s.done(readingAt(now.Sub(start), key1), came, now, test.atLeast)
			if came != accepted {
				now = s.notBefore
			}
		}
		attempted := now
		if n := len(test.came); n > 0 && test.came[n-1] != accepted {
			attempted = now.Add(-test.next)
		}
		at, ok := s.due(readingAt(now.Sub(start), key1), attempted)
		if !ok || at.Sub(attempted) != test.next {
			t.Errorf("%s: due %v after %s, want %s", name, ok, at.Sub(attempted), test.next)
		}
	}
}

func TestScheduleOfNews(t *testing.T) {
	t.Parallel()
	incomplete := readingAt(time.Second, key1)
	incomplete.APIServers.Listed = 2
	for _, came := range []outcome{accepted, superseded, refused, failed} {
		s := newSchedule(10 * time.Minute)
		s.done(readingAt(0, key1), came, start, 0)
		for name, news := range map[string]*Reading{"a key": readingAt(time.Second, key1, key2), "another key": readingAt(time.Second, key2), "completeness": incomplete} {
			now := start.Add(time.Second)
			if at, ok := s.due(news, now); !ok || at.After(now) {
				t.Errorf("%s after %s: due %v at %s", name, came, ok, at)
			}
		}
	}
}

func TestScheduleOfWhatMustNotBeSent(t *testing.T) {
	t.Parallel()
	s := newSchedule(10 * time.Minute)
	if _, ok := s.due(nil, start); ok {
		t.Error("nothing was read and it is due")
	}
	if _, ok := s.due(readingAt(0, key1), start.Add(snapshot.Lifetime)); ok {
		t.Error("a reading that nobody would believe is due")
	}
	tried := readingAt(0, key1)
	s.done(tried, superseded, start, 0)
	if _, ok := s.due(tried, start); ok {
		t.Error("an older reading is sent again under a newer number")
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	s := newSchedule(time.Minute)
	for range 1000 {
		if got := s.jitter(time.Second); got < 750*time.Millisecond || got >= 1250*time.Millisecond {
			t.Fatalf("jittered to %s", got)
		}
	}
}

// TestOldReading: what was read too long ago is not sent, neither as news, again, nor at the heartbeat.
func TestOldReading(t *testing.T) {
	t.Parallel()
	type attempt struct {
		came outcome
		at   time.Duration // after the reading began
	}
	for name, test := range map[string]struct {
		before *attempt
		at     time.Duration
		wait   time.Duration
		sent   bool
	}{
		"news":                                   {nil, 0, 0, true},
		"news at the limit":                      {nil, maxReadingAge, 0, true},
		"news too late":                          {nil, maxReadingAge + 1, 0, false},
		"again":                                  {&attempt{failed, time.Second}, time.Second, time.Second, true},
		"again, already due":                     {&attempt{failed, time.Second}, time.Minute, 0, true},
		"again, due in time, looked at too late": {&attempt{failed, time.Second}, maxReadingAge + 1, 0, false},
		"again, due too late":                    {&attempt{failed, maxReadingAge}, maxReadingAge, time.Second, false},
		"heartbeat of an old reading":            {&attempt{accepted, 0}, time.Second, 10*time.Minute - time.Second, false},
		"heartbeat after a queue took it":        {&attempt{queued, 0}, 10 * time.Minute, 0, false},
	} {
		w := &worker{schedule: newSchedule(10 * time.Minute), now: func() time.Time { return start.Add(test.at) }}
		w.schedule.jitter = noJitter
		reading := readingAt(0, key1)
		if test.before != nil {
			w.schedule.done(reading, test.before.came, start.Add(test.before.at), 0)
		}
		if wait, sent := w.next(reading); wait != test.wait || sent != test.sent {
			t.Errorf("%s: %s, %v, want %s, %v", name, wait, sent, test.wait, test.sent)
		}
	}
}
