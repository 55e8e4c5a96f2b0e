package rotation

import (
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)

// at is a round that began at a second, and took one.
func at(second int, change ...func(*Round)) Round {
	r := Round{
		Began: start.Add(time.Duration(second) * time.Second), Ended: start.Add(time.Duration(second+1) * time.Second), Listed: 2, Direct: true,
		Servers: []Server{{Address: "a", Signs: "new", longest: time.Minute}, {Address: "b", Signs: "new", longest: time.Minute}},
		URLs:    []URL{{URL: "u", Keys: []string{"old", "new"}, MaxAge: 10 * time.Second}, {URL: "v", Keys: []string{"old", "new"}}},
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func TestTracker(t *testing.T) {
	t.Parallel()
	published := goal{until: Published, keyIDs: []string{"new"}, cache: 30 * time.Second, gap: time.Minute}
	unused := goal{until: Unused, keyIDs: []string{"old"}, skew: 10 * time.Second, gap: time.Minute}
	lacks := func(r *Round) { r.URLs[1].Keys = []string{"old"} }
	fails := func(r *Round) { r.URLs[0] = URL{URL: "u", Problem: "503"} }
	age := func(r *Round) { r.URLs[0].MaxAge = time.Minute }
	signsOld := func(r *Round) { r.Servers[1].Signs = "old" }
	unread := func(r *Round) { r.Servers[1] = Server{Address: "b", Problem: "refused"} }
	gone := func(r *Round) { r.Listed, r.Servers = 1, r.Servers[:1] }
	long := func(r *Round) { r.Servers[0].longest = 10 * time.Minute }
	for name, test := range map[string]struct {
		goal   goal
		rounds []Round
		want   bool   // reached with the last of them, and with none before
		says   string // of the last
	}{
		"published: not at once":                  {published, []Round{at(0)}, false, "if it stays, reached at 2026-11-02T08:00:31Z"},
		"published: a moment too early":           {published, []Round{at(0), at(30)}, false, ""},
		"published: after the cache time":         {published, []Round{at(0), at(15), at(31)}, true, "reached"},
		"published: a longer max-age counts":      {published, []Round{at(0, age), at(31), at(60)}, false, ""},
		"published: also when it was only before": {published, []Round{at(-5, age, lacks), at(0), at(31), at(61)}, true, ""},
		"published: one URL lacks it":             {published, []Round{at(0, lacks), at(31, lacks)}, false, "v does not have new"},
		"published: it vanished in between":       {published, []Round{at(0), at(15, lacks), at(31), at(62)}, true, ""},
		"published: not after it vanished":        {published, []Round{at(0), at(15, lacks), at(31), at(61)}, false, ""},
		"published: an unclear look begins anew":  {published, []Round{at(0), at(29, fails), at(31)}, false, "since"},
		"published: the last look must be good":   {published, []Round{at(0), at(40, fails)}, false, "u: 503"},
		"published: nobody looked for long":       {published, []Round{at(0), at(100)}, false, "since 2026-11-02T08:01:41Z"},

		"unused: not at once":                            {unused, []Round{at(0)}, false, "reached at 2026-11-02T08:01:11Z"},
		"unused: a moment too early":                     {unused, []Round{at(0), at(40), at(70)}, false, ""},
		"unused: after the longest token and the skew":   {unused, []Round{at(0), at(40), at(71)}, true, ""},
		"unused: one signs with it":                      {unused, []Round{at(0, signsOld), at(40, signsOld)}, false, "b signs with old"},
		"unused: one went back to it":                    {unused, []Round{at(0), at(40, signsOld), at(71), at(120), at(141)}, false, ""},
		"unused: the longest token was given before":     {unused, []Round{at(-20, signsOld, long), at(0), at(40), at(71)}, false, "08:10:11Z"},
		"unused: one can't be read":                      {unused, []Round{at(0), at(40, unread), at(71)}, false, "since 2026-11-02T08:01:12Z"},
		"unused: one is away, and may come back with it": {unused, []Round{at(-20, signsOld), at(0, gone), at(40, gone), at(71, gone)}, false, "1 API servers are listed, 2 there were"},
		"unused: one is away for good": {
			goal{until: Unused, keyIDs: []string{"old"}, skew: 10 * time.Second, gap: time.Minute, servers: 1},
			[]Round{at(-20, signsOld), at(0, gone), at(40, gone), at(71, gone)},
			true, "",
		},
		"unused: not all have come up yet": {goal{until: Unused, keyIDs: []string{"old"}, gap: time.Minute, servers: 3}, []Round{at(0), at(61)}, false, "2 API servers are listed, 3 there were"},
		"unused: the skew counts beside a life that is known": {
			goal{until: Unused, keyIDs: []string{"old"}, life: 20 * time.Second, skew: 5 * time.Second, gap: time.Minute}, []Round{at(0), at(21)}, false, "",
		},
		"unused: a life that is known": {goal{until: Unused, keyIDs: []string{"old"}, life: 20 * time.Second, gap: time.Minute}, []Round{at(0, long), at(21)}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := &tracker{goal: test.goal}
			for i, r := range test.rounds {
				v := tracker.observe(r)
				last := i == len(test.rounds)-1
				if v.Reached != (last && test.want) {
					t.Errorf("round %d: %s", i, v)
				}
				if last && !strings.Contains(v.String(), test.says) {
					t.Errorf("%q, want %q", v, test.says)
				}
			}
		})
	}
}

// The next look comes when it may be reached, not a poll later.
func TestNextLook(t *testing.T) {
	t.Parallel()
	w := &waiting{poll: 10 * time.Second}
	for name, test := range map[string]struct {
		v    verdict
		want time.Duration
	}{
		"it is not so":       {verdict{}, 10 * time.Second},
		"long to go":         {verdict{Since: start, At: start.Add(time.Hour)}, 10 * time.Second},
		"sooner than a poll": {verdict{Since: start, At: start.Add(3 * time.Second)}, 3 * time.Second},
		"over":               {verdict{Since: start, At: start.Add(-time.Second)}, time.Millisecond},
	} {
		if got := w.next(test.v, start); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestStage(t *testing.T) {
	t.Parallel()
	keys := func(listed, published []string, signs ...string) Round {
		r := Round{URLs: []URL{{URL: "u", Keys: published}}}
		for _, s := range signs {
			r.Servers = append(r.Servers, Server{Address: "a", Keys: listed, Signs: s})
		}
		return r
	}
	both, one := []string{"new", "old"}, []string{"old"}
	adding := keys(one, both, "old", "old")
	adding.Servers[1].Keys = both
	for want, r := range map[string]Round{
		"At rest":                             keys(one, one, "old", "old"),
		"One key signs; others are published": keys(one, both, "old", "old"),
		"In the middle of adding new":         adding,
		"Two keys are listed, one signs":      keys(both, both, "old", "old"),
		"In the middle of the switch":         keys(both, both, "new", "old"),
		"TROUBLE: an API server signs with new, which not every URL has":    keys(both, one, "new", "new"),
		"TROUBLE: an API server signs with new, which not every API server": keys(one, both, "new"),
		"Not every API server can be read":                                  {Servers: []Server{{Address: "a", Problem: "refused"}}},
		"No API server was asked":                                           {},
	} {
		if got := stage(r); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is visible without a break keeps its time; what vanished and came again does not.
func TestSee(t *testing.T) {
	t.Parallel()
	modified := start.Add(-time.Hour)
	first := see(nil, at(0, func(r *Round) { r.URLs[0].Modified = &modified }))
	second := see(first, at(10, func(r *Round) { r.URLs[1].Keys = []string{"old"} }))
	third := see(second, at(20))
	want := map[string]time.Time{"u old": modified, "u new": modified, "v old": start.Add(time.Second), "v new": start.Add(21 * time.Second)}
	for _, s := range third {
		if !s.Since.Equal(want[s.URL+" "+s.KeyID]) {
			t.Errorf("%s %s: since %s", s.URL, s.KeyID, s.Since)
		}
	}
	if len(third) != 4 {
		t.Error(third)
	}
}
