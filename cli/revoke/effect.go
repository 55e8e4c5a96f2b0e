package revoke

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	look "github.com/kube-iam-assume/kube-iam-assume/cli/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
)

const (
	poll        = 250 * time.Millisecond
	sureAfter   = 4 // looks without the key: behind one name there may be several caches
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

// watch is a look at public URLs until keys are gone from them. It begins before the statement is sent, so that it sees how long that takes.
type watch struct {
	stranger stranger.Client
	keyIDs   []string
	began    time.Time
	limit    time.Duration // negative: the cache time and a margin
	progress io.Writer

	mu       sync.Mutex // of progress, and what follows
	answered time.Time  // when every publisher had answered, or failed
	hopeless []string   // URLs of which no publisher has done it
}

// start looks at all URLs at once. The result comes some time after settle was called, or the context has ended.
func (w *watch) start(ctx context.Context, urls []string) <-chan []Effect {
	result := make(chan []Effect, 1)
	go func() {
		effects := make([]Effect, len(urls))
		var all sync.WaitGroup
		for i, u := range urls {
			all.Go(func() { effects[i] = w.place(ctx, u) })
		}
		all.Wait()
		result <- effects
	}()
	return result
}

// settle says that every publisher has answered, and for which URLs there is nothing to wait.
func (w *watch) settle(hopeless []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered, w.hopeless = time.Now(), hopeless
}

// enough reports whether a URL has been looked at for long enough.
func (w *watch) enough(base string, age time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.answered.IsZero() && (slices.Contains(w.hopeless, base) || time.Since(w.answered) > w.patience(age))
}

// place looks until enough looks in succession were without the keys, or until it has taken too long.
func (w *watch) place(ctx context.Context, base string) Effect {
	e := Effect{URL: base + stranger.JWKSPath}
	var age time.Duration
	told := false
	for clean := 0; ; {
		asked := time.Now()
		over := w.enough(base, age) // asked before the look, so that there is one after every publisher has answered
		seen := look.Fetch(ctx, w.stranger, base)
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
		if e.Gone = clean >= sureAfter; e.Gone || over && clean == 0 {
			return e
		}
		if !told && clean == 0 && time.Since(w.began) > quietFor {
			told = true
			w.tell(e, w.patience(age))
		}
		if pause(ctx) != nil {
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
	fmt.Fprintf(w.progress, "%s %s; watching it for %s after the last answer (Ctrl-C ends that)\n", e.URL, what, patience.Round(time.Second))
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
