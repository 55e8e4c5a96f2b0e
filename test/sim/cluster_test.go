package sim

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

const (
	tokenLife = 24 * time.Hour // the longest token of the simulated cluster; the retention is twice that
	maxDown   = 12 * time.Hour // an API server that was away longer is re-installed with the others' keys
)

// server is one API server: what it lists, what it signs with, and whether it is up.
type server struct {
	listed    []*key
	sign      *key
	downUntil time.Time
}

type key struct {
	snapshottest.Key
	lastSigned time.Time // the newest token that can exist
	rotatedOut bool      // no server will list it again
}

func (s *server) up(now time.Time) bool { return !now.Before(s.downUntil) }

// control is a control plane of three that is being rotated all the time, the way the manual says: list everywhere, wait until it is
// published, switch everywhere, drop everywhere, one server at a time.
type control struct {
	*rand.Rand
	servers  [3]*server
	old, new *key
	all      []*key
	phase    int
}

func newControl(r *rand.Rand) *control {
	c := &control{Rand: r}
	c.old = c.newKey()
	for i := range c.servers {
		c.servers[i] = &server{listed: []*key{c.old}, sign: c.old}
	}
	return c
}

func (c *control) newKey() *key {
	k := &key{Key: snapshottest.NewKey()}
	c.all = append(c.all, k)
	return k
}

// rotate takes the next step of the rotation on one server, or of the whole.
func (c *control) rotate(published func(*key) bool) {
	s := c.servers[c.IntN(3)]
	every := func(done func(*server) bool) bool {
		return !slices.ContainsFunc(c.servers[:], func(s *server) bool { return !done(s) })
	}
	switch c.phase {
	case 0:
		c.new = c.newKey()
		c.phase = 1
	case 1:
		if !slices.Contains(s.listed, c.new) {
			s.listed = append(slices.Clone(s.listed), c.new)
		}
		if every(func(s *server) bool { return slices.Contains(s.listed, c.new) }) && published(c.new) {
			c.phase = 2
		}
	case 2:
		s.sign = c.new
		if every(func(s *server) bool { return s.sign == c.new }) {
			c.phase = 3
		}
	case 3:
		s.listed = []*key{c.new}
		if every(func(s *server) bool { return len(s.listed) == 1 }) {
			c.old.rotatedOut = true
			c.old, c.phase = c.new, 0
		}
	}
}

func (c *control) flap(now time.Time) {
	s := c.servers[c.IntN(3)]
	if s.up(now) {
		s.downUntil = now.Add(time.Duration(c.Int64N(int64(maxDown))))
	}
}

func (c *control) signTokens(now time.Time) {
	for _, s := range c.servers {
		if s.up(now) {
			s.sign.lastSigned = now
		}
	}
}

// snapshot is what a replica reads now: a server that is down is gone from the list, or still listed and not read.
func (c *control) snapshot(e *snapshottest.Exporter, now time.Time) []byte {
	s := e.Snapshot(now, nil)
	s.APIServers = snapshot.APIServers{}
	var union []snapshottest.Key
	for _, server := range c.servers {
		switch {
		case server.up(now) && c.IntN(20) > 0: // one in twenty reads fails
			s.APIServers.Read++
			s.APIServers.Listed++
			s.Attestations = append(s.Attestations, e.Attest(server.sign.Key, e.Signer.Key(), now))
			for _, k := range server.listed {
				union = append(union, k.Key)
			}
		case server.up(now) || c.IntN(2) == 0:
			s.APIServers.Listed++
		}
	}
	if s.APIServers.Read == 0 {
		return nil
	}
	for _, k := range union {
		if _, ok := s.Keys.ByID(k.ID()); !ok {
			s.Keys = append(s.Keys, k.Key)
		}
	}
	return e.Sign(s)
}
