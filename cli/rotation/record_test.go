package rotation

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var waitUnused = goal{until: Unused, keyIDs: []string{"old"}, skew: 10 * time.Second, gap: 25 * time.Second}

// resumed is a tracker after a restart: what it knows went through the file's form.
func resumed(t *testing.T, before *tracker, g goal) *tracker {
	t.Helper()
	of := []string{"https://oidc.example.com/prod"}
	kept, err := parseRecord(before.record(of).encode())
	if err != nil {
		t.Fatal(err)
	}
	after := &tracker{goal: g}
	if err := after.resume(kept, of); err != nil {
		t.Fatal(err)
	}
	return after
}

// A wait that is started again goes on, and what nobody saw does not count.
func TestResume(t *testing.T) {
	t.Parallel()
	signsOld := func(r *Round) { r.Servers[1].Signs = "old" }
	gone := func(r *Round) { r.Listed, r.Servers = 1, r.Servers[:1] }
	long := func(r *Round) { r.Servers[0].longest = 10 * time.Minute }
	balanced := func(r *Round) { r.Direct = false }
	through := waitUnused
	through.through = true
	for name, test := range map[string]struct {
		before, after []Round
		goal          goal
		want          bool
		says          string // of the first round after the restart
	}{
		"it goes on":                              {[]Round{at(0), at(20), at(40)}, []Round{at(60), at(71)}, waitUnused, true, ""},
		"not a moment too early":                  {[]Round{at(0), at(20), at(40)}, []Round{at(60), at(70)}, waitUnused, false, ""},
		"a pause does not count":                  {[]Round{at(0), at(20), at(40)}, []Round{at(67), at(80), at(100), at(120), at(137)}, waitUnused, false, "nobody looked for 26s"},
		"after it the whole time is waited for":   {[]Round{at(0), at(20), at(40)}, []Round{at(67), at(80), at(100), at(120), at(138)}, waitUnused, true, ""},
		"it was not so in the last look":          {[]Round{at(0), at(20, signsOld)}, []Round{at(30), at(50), at(71), at(90)}, waitUnused, false, ""},
		"a server that was there is missed":       {[]Round{at(0), at(20)}, []Round{at(40, gone), at(60, gone), at(71, gone)}, waitUnused, false, ""},
		"the longest token is remembered":         {[]Round{at(0, long), at(20)}, []Round{at(40), at(60), at(71)}, waitUnused, false, ""},
		"the clock went back":                     {[]Round{at(100), at(120), at(140)}, []Round{at(90), at(110), at(130), at(150), at(160)}, waitUnused, false, "the clock went back"},
		"a balancer hid something":                {[]Round{at(0, balanced), at(20), at(40)}, []Round{at(60), at(71)}, waitUnused, false, "through a balancer"},
		"a balancer hid something, and it may":    {[]Round{at(0, balanced), at(20), at(40)}, []Round{at(60), at(71)}, through, true, ""},
		"the machine slept":                       {[]Round{at(0), at(20)}, []Round{at(40, ran(40)), at(60, ran(50)), at(71, ran(61))}, waitUnused, false, ""},
		"the machine slept, and is seen to after": {[]Round{at(0), at(20)}, []Round{at(40, ran(40)), at(60, ran(60)), at(71, ran(71))}, waitUnused, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tracker := &tracker{goal: test.goal}
			tracker.through = true // of the earlier run
			for _, r := range test.before {
				if v := tracker.observe(r); v.Reached {
					t.Fatalf("before the restart: %s", v)
				}
			}
			tracker = resumed(t, tracker, test.goal)
			for i, r := range test.after {
				v := tracker.observe(r)
				if v.Reached != (test.want && i == len(test.after)-1) {
					t.Errorf("round %d after the restart: %s", i, v)
				}
				if i == 0 && !strings.Contains(tracker.broken, test.says) {
					t.Errorf("%q, want %q", tracker.broken, test.says)
				}
			}
		})
	}
}

// Whatever key IDs a wait is called with, what it writes down can be read again; and an empty one is none.
func TestKeyIDsOfARecord(t *testing.T) {
	t.Parallel()
	w := &waiting{goal: goal{until: Unused, keyIDs: []string{"b", "a", "b"}}, poll: time.Second}
	if err := w.check(); err != nil {
		t.Fatal(err)
	}
	tracker := &tracker{goal: w.goal}
	tracker.observe(at(0))
	resumed(t, tracker, w.goal)
	w.goal.keyIDs = []string{"a", ""}
	if err := w.check(); err == nil {
		t.Error("a key without an ID is waited for")
	}
}

// A freshness that can't be reckoned with is the longest there is, and of several the longest holds: nothing may be said sooner than a cache forgets.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		lines []string
		want  time.Duration
	}{
		{nil, 0},
		{[]string{"public, max-age=300"}, 5 * time.Minute},
		{[]string{"public", "Max-Age=\"300\""}, 5 * time.Minute},
		{[]string{"max-age=60, s-maxage=300"}, 5 * time.Minute},
		{[]string{"max-age=300, max-age=60"}, 5 * time.Minute},
		{[]string{"max-age=99999999999"}, longestAge},
		{[]string{"max-age=99999999999999999999999"}, longestAge},
		{[]string{"max-age=-1, x-max-age=7, max-age"}, 0},
	} {
		if got := maxAge(test.lines); got != test.want {
			t.Errorf("%q: %s, want %s", test.lines, got, test.want)
		}
	}
}

func ran(second int) func(*Round) {
	return func(r *Round) { r.ran = time.Duration(second+1) * time.Second }
}

// world is what API servers truly do: the times at which one of them signs with the old key.
type world struct {
	*rand.Rand
	old [][2]float64
}

func (w *world) signsOld(second float64) bool {
	return slices.ContainsFunc(w.old, func(span [2]float64) bool { return span[0] <= second && second <= span[1] })
}

// between is a number of seconds.
func (w *world) between(least, most float64) float64 { return least + w.Float64()*(most-least) }

// sooner simulates a wait that is cut off and started again at random, and reports whether it ever said "unused" while a token of the old key lived. While
// somebody looks, the old key comes back for longer than the pause between two looks; while nobody does, however shortly.
func sooner(t *testing.T, seed uint64, g goal) (wrong string, reached bool) {
	t.Helper()
	w := &world{Rand: rand.New(rand.NewPCG(seed, 7))}
	for second := 0.0; second < 2000; second += w.between(60, 900) {
		w.old = append(w.old, [2]float64{second, second + w.between(30, 60)})
	}
	of := []string{"https://oidc.example.com/prod"}
	tracker := &tracker{goal: g}
	var began float64
	for second := 0.0; second < 4000; {
		took := w.between(0, 1)
		r := at(0)
		r.Began, r.Ended = start.Add(time.Duration(second*1e9)), start.Add(time.Duration((second+took)*1e9))
		r.ran = r.Ended.Sub(start) - time.Duration(began*1e9) + 1
		if w.signsOld(second + w.between(0, took)) {
			r.Servers[1].Signs = "old"
		}
		if v := tracker.observe(r); v.Reached {
			for _, span := range w.old {
				if alive := span[1] + (time.Minute + g.skew).Seconds(); span[0] <= second && alive > second {
					return fmt.Sprintf("seed %d: said at %.1f, a token lives until %.1f", seed, second, alive), true
				}
			}
			return "", true
		}
		second += took + 10
		if w.Float64() < 0.1 { // cut off, and started again sooner or later
			pause := w.between(0, 60)
			if pause > 20 {
				from := second + w.between(0, pause-10)
				w.old = append(w.old, [2]float64{from, from + w.between(0.1, 10)})
			}
			second += pause
			began = second
			kept, err := parseRecord(tracker.record(of).encode())
			if err != nil {
				t.Fatal(err)
			}
			tracker = newTracker(t, g, kept, of)
		}
	}
	return "", false
}

func newTracker(t *testing.T, g goal, kept record, of []string) *tracker {
	t.Helper()
	fresh := &tracker{goal: g}
	if err := fresh.resume(kept, of); err != nil {
		t.Fatal(err)
	}
	return fresh
}

// However often a wait is cut off, it never says "unused" sooner than the truth, and it comes to an end. A wait that trusted its pauses would.
func TestNeverSoonerThanTheTruth(t *testing.T) {
	t.Parallel()
	trusting := waitUnused
	trusting.gap = time.Hour
	reached, caught := 0, 0
	const runs = 2000
	for seed := range uint64(runs) {
		wrong, done := sooner(t, seed, waitUnused)
		if wrong != "" {
			t.Error(wrong)
		}
		if done {
			reached++
		}
		if wrong, _ := sooner(t, seed, trusting); wrong != "" {
			caught++
		}
	}
	if reached < runs*9/10 || caught < runs/20 {
		t.Errorf("of %d waits %d came to an end; %d that trusted their pauses were wrong: the simulation shows nothing", runs, reached, caught)
	}
	t.Logf("%d of %d waits came to an end; of those that trusted their pauses %d were too soon", reached, runs, caught)
}

func TestRecordOfAnother(t *testing.T) {
	t.Parallel()
	one := &tracker{goal: waitUnused}
	one.observe(at(0))
	kept := one.record([]string{"https://oidc.example.com/prod"})
	for name, change := range map[string]func(*tracker, *[]string){
		"another key":    func(t *tracker, _ *[]string) { t.keyIDs = []string{"older"} },
		"a further key":  func(t *tracker, _ *[]string) { t.keyIDs = []string{"old", "older"} },
		"another goal":   func(t *tracker, _ *[]string) { t.until = Published },
		"another issuer": func(_ *tracker, of *[]string) { *of = []string{"https://oidc.example.com/test"} },
	} {
		other, of := &tracker{goal: waitUnused}, slices.Clone(kept.Of)
		change(other, &of)
		if err := other.resume(kept, of); !errors.Is(err, ErrOtherWait) || !other.since.IsZero() || !other.last.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that is not exactly a record is refused, and stays as it is.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	one := &tracker{goal: waitUnused}
	one.observe(at(0))
	good := string(one.record([]string{"https://oidc.example.com/prod"}).encode())
	if _, err := parseRecord([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":                    "",
		"cut off":                  good[:len(good)/2],
		"something behind it":      good + "{}",
		"a later format":           strings.Replace(good, "wait/1", "wait/2", 1),
		"an unknown member":        strings.Replace(good, `"looks"`, `"glances": 1, "looks"`, 1),
		"a member twice":           strings.Replace(good, `"looks": 1`, `"looks": 1, "looks": 1`, 1),
		"no key":                   strings.Replace(good, `"old"`, ``, 1),
		"since after last":         strings.Replace(good, `"since": "2026`, `"since": "2027`, 1),
		"looks without since":      strings.Replace(good, `"since": "2026-11-02T08:00:01Z",`, ``, 1),
		"a negative number":        strings.Replace(good, `"apiServers": 2`, `"apiServers": -2`, 1),
		"a token of a million yrs": strings.Replace(good, `"longestTokenSeconds": 60`, `"longestTokenSeconds": 9000000000000000000`, 1),
		"too long":                 good + strings.Repeat(" ", maxRecord),
	} {
		if text == good {
			t.Fatalf("%s changes nothing", name)
		}
		file := filepath.Join(t.TempDir(), "wait.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(file)
		if left, _ := os.ReadFile(file); !errors.Is(err, ErrRecord) || r != nil || string(left) != text {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A write leaves one file, with the new record; one that fails leaves the old record.
func TestWriteRecord(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "wait.json")
	if r, err := readRecord(file); r != nil || err != nil {
		t.Fatal(r, err)
	}
	one := &tracker{goal: waitUnused}
	for second := range 3 {
		one.observe(at(10 * second))
		want := one.record([]string{"a", "b"})
		if err := want.write(file); err != nil {
			t.Fatal(err)
		}
		got, err := readRecord(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, *got, cmp.AllowUnexported(record{})); diff != "" {
			t.Error(diff)
		}
	}
	if files, err := os.ReadDir(folder); err != nil || len(files) != 1 {
		t.Error(files, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.record([]string{"a"}).write(filepath.Join(folder, "nowhere", "wait.json")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := one.record([]string{"a"}).write(folder); err == nil { // a folder can't be replaced by a file
		t.Error("a folder was replaced")
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Error("the record of before changed")
	}
}

func FuzzParseRecord(f *testing.F) {
	one := &tracker{goal: waitUnused}
	one.observe(at(0))
	f.Add(one.record([]string{"a"}).encode())
	f.Add([]byte(`{"format":"kube-iam-assume-rotation-wait/1","until":"published","keyIDs":["a"],"of":["u"],"last":"2026-11-02T08:00:00.5+01:00","looks":0,"hidden":false,"maxAgeSeconds":0,"longestTokenSeconds":0,"apiServers":0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseRecord(r.encode())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again, cmp.AllowUnexported(record{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
