package rotation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What can be waited for.
const (
	Published = "published" // a new key, at every public URL
	Unused    = "unused"    // an old key, by every token that lives
)

// goal is what to wait for, and how long it must have been so.
type goal struct {
	until   string
	keyIDs  []string
	cache   time.Duration // published: at least; longer if a URL's max-age is
	life    time.Duration // unused: of the longest token; 0 for what the API servers give
	skew    time.Duration // unused
	servers int           // unused: how many API servers there are at least; 0 for the most that were seen
	gap     time.Duration // between two looks at most, or what was between them is not known
	through bool          // unused: accept looks through a balancer
}

// clockSlack is how far the clock and the run time may part in a look and the pause before it.
const clockSlack = 2 * time.Second

// tracker finds out from round to round since when it is so. It is pure: all it knows of time are the rounds'.
type tracker struct {
	goal

	since   time.Time     // end of the first round of those that all were good; zero if the last was not
	last    time.Time     // end of the last round
	ran     time.Duration // and this program's run time then, in which sleep does not count; zero for an earlier run's
	rounds  int           // good ones since
	age     time.Duration
	seen    time.Duration // the longest life of a token that was seen
	most    int
	resumed bool   // rounds since then were an earlier run's
	hidden  bool   // a round since then went through a balancer
	broken  string // why it began anew with this round, though it was so before; "" if it did not
}

// verdict is what is known after a round.
type verdict struct {
	Reached  bool
	Since    time.Time     // zero if it is not so now
	Required time.Duration // how long it must have been so
	At       time.Time     // when that will be over, if it goes on
	Missing  []string      // why it is not so
}

func (t *tracker) observe(r Round) verdict {
	t.learn(r)
	missing := t.missing(r)
	t.broken = t.pause(r)
	if t.broken != "" {
		t.since, t.rounds = time.Time{}, 0
	}
	t.last, t.ran = r.Ended, r.ran
	if len(missing) > 0 {
		t.since, t.rounds = time.Time{}, 0
		return verdict{Required: t.required(), Missing: missing}
	}
	if t.since.IsZero() {
		t.since, t.rounds, t.hidden, t.resumed = r.Ended, 0, false, false
	}
	t.rounds++
	t.hidden = t.hidden || t.until == Unused && r.hidden()
	v := verdict{Since: t.since, Required: t.required()}
	v.At = t.since.Add(v.Required)
	v.Reached = !r.Began.Before(v.At)
	return v
}

// pause is why the rounds before say nothing about the time up to this one: nobody looked, and a key may have gone and come.
func (t *tracker) pause(r Round) string {
	if t.last.IsZero() || t.since.IsZero() {
		return ""
	}
	switch wall := r.Began.Sub(t.last); {
	case wall < 0:
		return "the clock went back"
	case wall > t.gap:
		return fmt.Sprintf("nobody looked for %s", wall.Round(time.Second))
	case t.ran > 0 && (r.Ended.Sub(t.last)-(r.ran-t.ran)).Abs() > clockSlack:
		return "the machine slept, or its clock was set"
	case t.hidden && !t.through:
		return "earlier looks went through a balancer"
	}
	return ""
}

// learn takes the largest of everything that was ever seen: a document of before may still be in a cache, and a token of before alive.
func (t *tracker) learn(r Round) {
	for _, u := range r.URLs {
		t.age = max(t.age, u.MaxAge)
	}
	for _, s := range r.Servers {
		t.seen = max(t.seen, s.longest)
	}
	t.most = max(t.most, r.Listed)
}

func (t *tracker) required() time.Duration {
	if t.until == Published {
		return max(t.cache, t.age)
	}
	if t.life > 0 {
		return t.life + t.skew
	}
	return t.seen + t.skew
}

func (t *tracker) missing(r Round) []string {
	if t.until == Published {
		return t.notPublished(r)
	}
	return t.stillUsed(r)
}

func (t *tracker) notPublished(r Round) []string {
	var all []string
	for _, u := range r.URLs {
		for _, id := range t.keyIDs {
			switch {
			case u.Problem != "":
				all = append(all, u.URL+": "+u.Problem)
			case !u.has(id):
				all = append(all, u.URL+" does not have "+id)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stillUsed takes nothing for granted of an API server that was not heard: it may be signing with the old key.
func (t *tracker) stillUsed(r Round) []string {
	var all []string
	for _, s := range r.Servers {
		switch {
		case s.Problem != "" || s.Signs == "":
			all = append(all, fmt.Sprintf("%s: what it signs with is not known: %s", s.Address, s.Problem))
		case slices.Contains(t.keyIDs, s.Signs):
			all = append(all, s.Address+" signs with "+s.Signs)
		}
	}
	if want := max(t.servers, t.most); t.servers == 0 && r.Listed < want || t.servers > 0 && r.Listed < t.servers {
		all = append(all, fmt.Sprintf("%d API servers are listed, %d there were: one that comes back may sign with the old key", r.Listed, want))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (v verdict) String() string {
	switch {
	case len(v.Missing) > 0:
		return "not yet: " + strings.Join(v.Missing, "; ")
	case v.Reached:
		return "reached"
	}
	return fmt.Sprintf("so since %s; if it stays, reached at %s", v.Since.UTC().Format(time.RFC3339), v.At.UTC().Format(time.RFC3339))
}
