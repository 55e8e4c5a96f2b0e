// Package rotation is the publisher's decision as a pure state machine: from the state of an issuer, a snapshot or an operator's
// statement, the time and the settings, it makes the next state and says what changed.
//
// It promises that nothing is published that nobody trusted vouched for, that silence never removes a key, that a key which left
// stays published for the retention, that a revoked key stays out, and that a refusal changes nothing. Which keys a snapshot brings
// in or retires is decided in advance.go.
package rotation

import (
	"cmp"
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Format is the version of the state's JSON that this package reads and writes.
const Format = 1

// State is all a publisher remembers of one issuer. The zero State is that of an issuer that was never published.
type State struct {
	Format      int       `json:"format"`
	Issuer      string    `json:"issuer"`
	Revision    int64     `json:"revision"`    // one more with every commit
	Publication uint32    `json:"publication"` // one more whenever the rendered keys change; written into the JWKS
	Written     time.Time `json:"written"`     // time of the last commit whose clock was not in doubt
	Unsure      time.Time `json:"unsure,omitzero"`
	Clusters    []Cluster `json:"clusters"` // sorted by ID
	Log         Log       `json:"log"`
}

// Cluster is what is known of one cluster of the issuer.
type Cluster struct {
	ID             string    `json:"id"`
	Generation     int       `json:"generation"`
	ServiceAccount string    `json:"serviceAccount"` // whose attestations made the remembered snapshot keys
	Bootstrap      string    `json:"bootstrap"`      // digest of the settings' bootstrap keys at this generation
	Enrolled       time.Time `json:"enrolled"`
	Removed        bool      `json:"removed,omitzero"`

	Seq      int64     `json:"seq"`               // of the last accepted snapshot of this generation; 0 before the first
	IssuedAt time.Time `json:"issuedAt,omitzero"` // its "iat"
	Digest   string    `json:"digest,omitzero"`   // its snapshot.Opened.Digest
	Received time.Time `json:"received,omitzero"` // when it was accepted
	Additive time.Time `json:"additive,omitzero"` // since when no complete snapshot came

	Remembered []snapshot.Remember `json:"remembered,omitzero"`
	Keys       []Key               `json:"keys"` // sorted by ID
	Revoked    []Revocation        `json:"revoked,omitzero"`
	Applied    []string            `json:"applied,omitzero"` // announcedKeys of the settings that were announced once: SPKI, and the ID where that is not derived
}

// Status is where a published key is in its life.
type Status string

// A key is Announced by the operator before an API server reports it, Current while API servers report it, and Retiring from when
// they stop until the retention is over.
const (
	Announced Status = "announced"
	Current   Status = "current"
	Retiring  Status = "retiring"
)

// Key is one published key of a cluster.
type Key struct {
	JWK       jwks.Key  `json:"jwk"`
	Status    Status    `json:"status"`
	Added     time.Time `json:"added"`              // when this publisher first published it
	VouchedBy []string  `json:"vouchedBy"`          // SPKIs of the keys on whose word it came, or ByEnrollment, or ByOperator
	Bootstrap bool      `json:"bootstrap,omitzero"` // vouches until the first snapshot of the generation
	Listed    time.Time `json:"listed,omitzero"`    // "iat" of the newest snapshot that lists it
	Signed    time.Time `json:"signed,omitzero"`    // "iat" of the newest attestation seen signed with it
	Missing   time.Time `json:"missing,omitzero"`   // retiring: from when the retention counts
	Until     time.Time `json:"until,omitzero"`     // announced: when it lapses
}

// Words that are not a key's.
const (
	ByEnrollment = "enrollment"
	ByOperator   = "operator"
)

// Revocation keeps a key out until it is lifted.
type Revocation struct {
	Key    string    `json:"key"` // SPKI, or the ID as the operator gave it if the key was not known
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitzero"`
}

// Log is where the issuer's log of changes stands. The publisher keeps the last entry here until its record is stored.
type Log struct {
	Entries int64  `json:"entries"`          // records made, the pending one included
	Last    string `json:"last,omitzero"`    // digest of the last of them
	Pending *Entry `json:"pending,omitzero"` // the last entry, until its record is known to be stored
}

// Entry is a change as it arrived.
type Entry struct {
	Number    int64      `json:"number"`
	Received  time.Time  `json:"received"`
	Trust     string     `json:"trust"`              // why it was believed
	Envelope  string     `json:"envelope,omitzero"`  // the snapshot
	Statement *Statement `json:"statement,omitzero"` // or the operator's statement; neither if settings or time made the change
	Changes   []Change   `json:"changes"`
	After     []Cluster  `json:"after"`             // the clusters of the issuer after the change, to recover from
	Previous  string     `json:"previous,omitzero"` // digest of the record before
}

func (s State) clone() State {
	s.Clusters = slices.Clone(s.Clusters)
	for i := range s.Clusters {
		c := &s.Clusters[i]
		c.Keys = slices.Clone(c.Keys)
		c.Remembered = slices.Clone(c.Remembered)
		c.Revoked = slices.Clone(c.Revoked)
		c.Applied = slices.Clone(c.Applied)
	}
	return s
}

// Cluster finds a cluster by its ID.
func (s State) Cluster(id string) (Cluster, bool) {
	for _, c := range s.Clusters {
		if c.ID == id {
			return c, true
		}
	}
	return Cluster{}, false
}

// Done reports whether nothing is left of a cluster but that it was here: it may leave the settings.
func (c Cluster) Done() bool { return c.Removed && len(c.Keys) == 0 }

func (s *State) cluster(id string) *Cluster {
	i, _ := slices.BinarySearchFunc(s.Clusters, id, func(c Cluster, id string) int { return cmp.Compare(c.ID, id) })
	if i == len(s.Clusters) || s.Clusters[i].ID != id {
		return nil
	}
	return &s.Clusters[i]
}

func (s *State) addCluster(c Cluster) *Cluster {
	i, _ := slices.BinarySearchFunc(s.Clusters, c.ID, func(c Cluster, id string) int { return cmp.Compare(c.ID, id) })
	s.Clusters = slices.Insert(s.Clusters, i, c)
	return &s.Clusters[i]
}

func (c *Cluster) key(spki string) *Key {
	for i := range c.Keys {
		if c.Keys[i].JWK.SPKI() == spki {
			return &c.Keys[i]
		}
	}
	return nil
}

func (c *Cluster) addKey(key Key) {
	i, _ := slices.BinarySearchFunc(c.Keys, key.JWK.ID(), func(k Key, id string) int { return cmp.Compare(k.JWK.ID(), id) })
	c.Keys = slices.Insert(c.Keys, i, key)
}

func (c *Cluster) revoked(key jwks.Key) bool {
	return slices.ContainsFunc(c.Revoked, func(r Revocation) bool { return r.Key == key.SPKI() || r.Key == key.ID() })
}
