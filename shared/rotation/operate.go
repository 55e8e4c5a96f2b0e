package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Action is what an operator may do.
type Action string

// The actions. Recover rebuilds a lost state from the log and is the publisher's own: Operate refuses it.
const (
	Announce Action = "announce" // publish and trust keys before an API server uses them
	Revoke   Action = "revoke"   // withdraw keys now and keep them out
	Lift     Action = "lift"     // let revoked keys in again
	Enroll   Action = "enroll"   // start the trust in a cluster anew with these keys
	Remove   Action = "remove"   // retire a cluster
	Recover  Action = "recover"
)

// Statement is an operator's word. It comes through the platform's own authentication, never by webhook or queue.
type Statement struct {
	Issuer   string    `json:"issuer"`
	Cluster  string    `json:"cluster,omitzero"`
	Action   Action    `json:"action"`
	Keys     jwks.Set  `json:"keys,omitzero"`     // announce, enroll
	KeyIDs   []string  `json:"keyIDs,omitzero"`   // revoke, lift: key IDs or SPKIs
	WithWord bool      `json:"withWord,omitzero"` // revoke: also every key that came in on their word alone
	Since    time.Time `json:"since,omitzero"`    // revoke withWord: only what came in at or after
	Reason   string    `json:"reason"`
}

// MaxStatement is the largest statement in bytes.
const MaxStatement = 128 << 10

// ParseStatement reads a statement's JSON strictly. The error is ErrStatement.
func ParseStatement(data []byte) (Statement, error) {
	if len(data) > MaxStatement {
		return Statement{}, fmt.Errorf("%w: %d bytes, at most %d", ErrStatement, len(data), MaxStatement)
	}
	var s Statement
	if err := json.Unmarshal(data, &s, json.RejectUnknownMembers(true)); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrStatement, err)
	}
	return s, nil
}

// Operate carries out a statement. One that is already true changes nothing. The errors are ErrStatement, ErrUnknownCluster,
// ErrRevoked, ErrGeneration and what refuses a key in a snapshot.
func Operate(state State, s Statement, now time.Time, policy Policy) (Decision, error) {
	refusal := Decision{State: state}
	member, ok := policy.Member(s.Cluster)
	if !ok {
		return refusal, fmt.Errorf("%w: %q", ErrUnknownCluster, s.Cluster)
	}
	if s.Issuer != policy.Issuer {
		return refusal, fmt.Errorf("%w: it is for the issuer %q, this one is %q", ErrStatement, s.Issuer, policy.Issuer)
	}
	d, err := begin(state, now, policy)
	if err != nil {
		return refusal, err
	}
	c := d.cluster(s.Cluster)
	if member.Generation < c.Generation {
		return refusal, c.mayReport(member)
	}
	if err := d.act(c, member, s); err != nil {
		return refusal, err
	}
	return d.decide(), nil
}

func (d *draft) act(c *Cluster, m Member, s Statement) error {
	switch s.Action {
	case Announce:
		return d.announceAll(c, m, s)
	case Revoke:
		return d.revokeAll(c, s)
	case Lift:
		return d.lift(c, s)
	case Enroll:
		return d.reenroll(c, m, s)
	case Remove:
		if !c.Removed {
			d.remove(c)
		}
		return nil
	case Recover:
	}
	return fmt.Errorf("%w: action %q; the actions are announce, revoke, lift, enroll and remove", ErrStatement, s.Action)
}

func (d *draft) announceAll(c *Cluster, m Member, s Statement) error {
	if len(s.Keys) == 0 {
		return fmt.Errorf("%w: no keys to announce", ErrStatement)
	}
	if c.Removed {
		return fmt.Errorf("%w: %q; enroll it first", ErrRemoved, c.ID)
	}
	for _, key := range s.Keys {
		if err := d.announce(c, m, key); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) revokeAll(c *Cluster, s Statement) error {
	if len(s.KeyIDs) == 0 {
		return fmt.Errorf("%w: no key IDs to revoke", ErrStatement)
	}
	withdrawn := slices.Clone(s.KeyIDs)
	for _, id := range s.KeyIDs {
		i := slices.IndexFunc(c.Keys, func(k Key) bool { return k.JWK.ID() == id || k.JWK.SPKI() == id })
		if i >= 0 {
			withdrawn = append(withdrawn, c.Keys[i].JWK.SPKI())
		}
		for _, r := range c.Revoked {
			if r.ID == id {
				withdrawn = append(withdrawn, r.Key)
			}
		}
		d.revoke(c, id, s.Reason)
	}
	if s.WithWord {
		d.withdrawWord(c, withdrawn, s)
	}
	c.Remembered = slices.DeleteFunc(c.Remembered, func(r snapshot.Remember) bool { return slices.Contains(s.KeyIDs, r.Thumbprint) })
	return nil
}

// withdrawWord revokes every key that came in only on the word of withdrawn keys, and so on: what a thief brought in may have
// vouched for more. A key that an untainted key vouched for too stays.
func (d *draft) withdrawWord(c *Cluster, withdrawn []string, s Statement) {
	for {
		i := slices.IndexFunc(c.Keys, func(k Key) bool {
			return !k.Added.Before(s.Since) && len(k.VouchedBy) > 0 &&
				!slices.ContainsFunc(k.VouchedBy, func(v string) bool { return !slices.Contains(withdrawn, v) })
		})
		if i < 0 {
			return
		}
		withdrawn = append(withdrawn, c.Keys[i].JWK.SPKI())
		d.revoke(c, c.Keys[i].JWK.SPKI(), s.Reason+" (came in on the word of a revoked key)")
	}
}

func (d *draft) lift(c *Cluster, s Statement) error {
	if len(s.KeyIDs) == 0 {
		return fmt.Errorf("%w: no key IDs to lift", ErrStatement)
	}
	m, _ := d.policy.Member(c.ID)
	for _, id := range s.KeyIDs {
		c.Revoked = slices.DeleteFunc(c.Revoked, func(r Revocation) bool {
			if r.ID != id && r.Key != id {
				return false
			}
			d.change(KeyLifted, c, r.ID, "it may be published again when an API server reports it: %s", s.Reason)
			return true
		})
		if slices.Contains(m.Revoked, id) {
			return fmt.Errorf("%w: %q is in revokedKeys of the settings; take it out there and deploy first", ErrStatement, id)
		}
	}
	return nil
}

func (d *draft) reenroll(c *Cluster, m Member, s Statement) error {
	if len(s.Keys) == 0 {
		return fmt.Errorf("%w: no keys to enroll with", ErrStatement)
	}
	for _, key := range s.Keys {
		if c.revoked(key) {
			return fmt.Errorf("%w: %q; lift it first", ErrRevoked, key.ID())
		}
		if err := d.admissible(c, key, m.ExternalIDs); err != nil {
			return err
		}
	}
	d.enroll(c, m, s.Keys, ClusterReenrolled, ByOperator)
	return d.withinLimits(c)
}
