package exporter

import (
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

const (
	// lookback is how long everything seen behind a virtual address counts, because nobody knows which API server answered.
	lookback = 10 * time.Minute

	// maxGap between two readings; the exporter did not look for longer than that if it slept.
	maxGap = 2 * maxPollInterval

	// connections per reading and API server that is expected.
	connections = 2
)

// window is what was seen behind a virtual address.
//
// Its rule for "complete" is simple and on the safe side: the union of everything seen in the last 10 minutes speaks for all API servers
// if in all that time there was no reading in which a connection failed or had another issuer, and no gap. A key that an API server
// lists is therefore never reported missing because the virtual address did not lead there for a while.
type window struct {
	expect int
	seen   map[string]seenKey // SPKI and ID → key
	clean  time.Time          // since when nothing failed
	last   time.Time
}

type seenKey struct {
	jwks.Key
	at time.Time
}

func newWindow(expect int) *window { return &window{expect: expect, seen: map[string]seenKey{}} }

// add takes in a reading and returns the union so far, and how many API servers it speaks for: none if nothing was read now.
func (w *window) add(began time.Time, sets []jwks.Set, failed bool) ([]jwks.Set, snapshot.APIServers) {
	if failed || w.last.IsZero() || began.Sub(w.last) > maxGap {
		w.clean = began
	}
	w.last = began
	if len(sets) == 0 {
		return nil, snapshot.APIServers{Listed: w.expect}
	}
	for _, key := range slices.Concat(sets...) {
		w.seen[key.SPKI()+" "+key.ID()] = seenKey{key, began}
	}
	var lately jwks.Set
	for id, key := range w.seen {
		if began.Sub(key.at) > lookback {
			delete(w.seen, id)
			continue
		}
		lately = append(lately, key.Key)
	}
	servers := snapshot.APIServers{Listed: w.expect, Read: w.expect - 1}
	if began.Sub(w.clean) >= lookback {
		servers.Read = w.expect
	}
	return []jwks.Set{lately}, servers
}
