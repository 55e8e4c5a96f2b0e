package exporter

import (
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	one, both := []jwks.Set{{key1}}, []jwks.Set{{key1}, {key1, key2}}
	type step struct {
		after  time.Duration // the step before, repeated every minute
		seen   []jwks.Set
		failed bool
		read   int // of 3
		keys   int
	}
	for name, steps := range map[string][]step{
		"at first":                            {{0, both, false, 2, 2}},
		"after ten minutes":                   {{0, both, false, 2, 2}, {10 * time.Minute, both, false, 3, 2}},
		"a key not seen for nine":             {{0, both, false, 2, 2}, {9 * time.Minute, one, false, 2, 2}},
		"a key not seen for ten":              {{0, both, false, 2, 2}, {11 * time.Minute, one, false, 3, 1}},
		"a failure starts it anew":            {{0, both, false, 2, 2}, {10 * time.Minute, both, false, 3, 2}, {time.Minute, both, true, 2, 2}, {9 * time.Minute, both, false, 2, 2}, {time.Minute, both, false, 3, 2}},
		"nothing read":                        {{0, both, false, 2, 2}, {time.Minute, nil, true, 0, 0}, {time.Minute, one, false, 2, 2}},
		"nothing read starts it anew as well": {{0, both, false, 2, 2}, {10 * time.Minute, nil, true, 0, 0}, {9 * time.Minute, both, false, 2, 2}},
	} {
		w, now := newWindow(3), start
		for i, step := range steps {
			for at := now.Add(time.Minute); at.Before(now.Add(step.after)); at = at.Add(time.Minute) {
				w.add(at, step.seen, step.failed)
			}
			now = now.Add(step.after)
			sets, servers := w.add(now, step.seen, step.failed)
			keys, err := jwks.Union(sets...)
			if err != nil || servers != (snapshot.APIServers{Listed: 3, Read: step.read}) || len(keys) != step.keys {
				t.Errorf("%s, step %d: %d keys of %+v, want %d of %d; %v", name, i, len(keys), servers, step.keys, step.read, err)
			}
		}
	}
}

// A machine that slept did not look.
func TestWindowWithAGap(t *testing.T) {
	t.Parallel()
	w := newWindow(2)
	w.add(start, []jwks.Set{{key1}}, false)
	if _, servers := w.add(start.Add(lookback), []jwks.Set{{key1}}, false); servers.Read != 1 {
		t.Errorf("complete after a gap: %+v", servers)
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	var words []word
	for _, keyID := range []string{"a", "a", "", "a", "b", "a", "a", "a", "a", "a", "c"} {
		words = append(words, word{token: keyID, keyID: keyID})
	}
	chosen := choose(words)
	if len(chosen) != snapshot.MaxAttestations || chosen[0] != "a" || chosen[1] != "b" || chosen[2] != "c" || chosen[3] != "a" {
		t.Errorf("chosen %q", chosen)
	}
}
