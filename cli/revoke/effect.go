package revoke

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

const (
	poll        = 500 * time.Millisecond
	sureAfter   = 3 // looks without the key: behind one name there may be several caches
	margin      = 30 * time.Second
	longestWait = 15 * time.Minute // whatever max-age says
	quietFor    = 2 * time.Second
)

// Effect is how a URL lost the keys.
type Effect struct {
	URL     string   `json:"url"`
	Gone    bool     `json:"gone"`
	Seconds float64  `json:"seconds"`           // from the moment at which the statement was sent to the first look without the keys; or how long it was looked for
	Still   []string `json:"still,omitempty"`   // keys that were there at the last look
	Problem string   `json:"problem,omitempty"` // why the last look saw nothing
}

// watch is a look at public URLs until keys are gone from them.
type watch struct {
	stranger stranger.Client
	keyIDs   []string
	began    time.Time
	limit    time.Duration // negative: the cache time and a margin
	progress io.Writer

	mu sync.Mutex // of progress
}

func (w *watch) places(ctx context.Context, urls []string) []Effect {
	effects := make([]Effect, len(urls))
	var all sync.WaitGroup
	for i, u := range urls {
		all.Go(func() { effects[i] = w.place(ctx, u) })
	}
	all.Wait()
	return effects
}

// place looks until enough looks in succession were without the keys, or until it has taken too long.
func (w *watch) place(ctx context.Context, base string) Effect {
	ctx, cancel := context.WithDeadline(ctx, w.began.Add(max(w.limit, longestWait)))
	defer cancel()
	e := Effect{URL: base + stranger.JWKSPath}
	var age time.Duration
	told := false
	for clean := 0; ; {
		asked := time.Now()
		seen := rotation.Fetch(ctx, w.stranger, base)
		if ctx.Err() != nil { // a look that was cut off shows nothing
			return e
		}
		age = max(age, seen.MaxAge)
		e.Problem, e.Still = seen.Problem, common(w.keyIDs, seen.Keys)
		switch {
		case e.Problem != "" || len(e.Still) > 0:
			clean = 0
			e.Seconds = time.Since(w.began).Seconds()
		case clean == 0:
			e.Seconds = asked.Sub(w.began).Seconds()
			clean++
		default:
			clean++
		}
		if e.Gone = clean >= sureAfter; e.Gone {
			return e
		}
		if !told && time.Since(w.began) > quietFor && clean == 0 {
			told = true
			w.tell(e, w.patience(age))
		}
		if time.Since(w.began) > w.patience(age) || pause(ctx) != nil {
			return e
		}
	}
}

func (w *watch) patience(age time.Duration) time.Duration {
	if w.limit >= 0 {
		return w.limit
	}
	return min(age+margin, longestWait)
}

func (w *watch) tell(e Effect, patience time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	what := "still has " + strings.Join(e.Still, ", ")
	if e.Problem != "" {
		what = "can't be read: " + e.Problem
	}
	fmt.Fprintf(w.progress, "%s %s; watching it for %s at most (Ctrl-C ends that)\n", e.URL, what, patience.Round(time.Second))
}

func common(wanted, there []string) []string {
	var both []string
	for _, id := range wanted {
		if slices.Contains(there, id) {
			both = append(both, id)
		}
	}
	return both
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
