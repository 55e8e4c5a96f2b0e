package rotation

import (
	"fmt"
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Advance judges a snapshot that Opened.Check let through: whether its key is believed, whether it is newer than what is known, and
// which keys it brings in or retires. On an error the decision's state is the given one. The same snapshot again is no error and
// changes nothing. The errors are those of this package and of snapshot.Opened.Believe.
func Advance(state State, o snapshot.Opened, now time.Time, policy Policy) (Decision, error) {
	refusal := Decision{State: state}
	member, ok := policy.Member(o.Cluster)
	if !ok {
		return refusal, fmt.Errorf("%w: %q", ErrUnknownCluster, o.Cluster)
	}
	d, err := begin(state, now, policy)
	if err != nil {
		return refusal, err
	}
	c := d.cluster(o.Cluster)
	refusal.Seq = c.Seq
	if refusal.Belief, err = o.Believe(c.trust(member, policy.Issuer, now), now); err != nil {
		return refusal, err
	}
	if err := c.mayReport(member); err != nil {
		return refusal, err
	}
	switch {
	case o.Seq == c.Seq && o.Digest == c.Digest:
		return refusal, nil
	case o.Seq == c.Seq:
		refusal.Findings = []Change{{Event: ForkDetected, Cluster: c.ID, Detail: fmt.Sprintf("sequence number %d", o.Seq)}}
		return refusal, fmt.Errorf("%w: %d of cluster %q: two exporters share a snapshot key, or it was stolen", ErrFork, o.Seq, c.ID)
	case o.Seq < c.Seq:
		return refusal, fmt.Errorf("%w: it has the sequence number %d, this one %d", ErrSuperseded, c.Seq, o.Seq)
	}
	if err := d.merge(c, member, o.Snapshot, refusal.Belief.VouchedBy); err != nil {
		return refusal, err
	}
	d.accept(c, o, refusal.Belief)
	decision := d.decide()
	decision.Belief, decision.Seq = refusal.Belief, o.Seq
	return decision, nil
}

func (c *Cluster) mayReport(m Member) error {
	switch {
	case c.Removed:
		return fmt.Errorf("%w: %q; re-enroll it with a higher generation", ErrRemoved, c.ID)
	case m.Generation < c.Generation:
		return fmt.Errorf("%w: generation %d of %q, the state has %d: a deploy was rolled back; deploy the newer settings again",
			ErrGeneration, m.Generation, c.ID, c.Generation)
	}
	return nil
}

// merge is the rule of the house: what is listed is current; what a complete snapshot no longer lists retires; nothing else leaves.
func (d *draft) merge(c *Cluster, m Member, s snapshot.Snapshot, vouchedBy []string) error {
	listed := d.withoutRevoked(c, s.Keys)
	if len(listed) == 0 {
		return fmt.Errorf("%w: a cluster without keys can't sign tokens", ErrNoKeys)
	}
	for _, key := range listed {
		if err := d.admissible(c, key, m.ExternalIDs); err != nil {
			return err
		}
	}
	replaced := d.replacesAll(c, listed)
	grew := false
	for _, key := range listed {
		grew = d.list(c, key, s.IssuedAt, vouchedBy) || grew
	}
	if s.Complete() {
		d.retireUnlisted(c, listed, s.IssuedAt)
	}
	if replaced {
		d.change(KeysReplaced, c, "", "no key of the snapshot before is listed any more")
	}
	if !grew {
		return nil
	}
	return d.withinLimits(c)
}

// withoutRevoked leaves revoked keys out; an API server may go on listing them.
func (d *draft) withoutRevoked(c *Cluster, keys jwks.Set) jwks.Set {
	return slices.DeleteFunc(slices.Clone(keys), func(key jwks.Key) bool {
		if !c.revoked(key) {
			return false
		}
		d.find(RevokedListed, c, key.ID(), "the API servers still list this revoked key; it is not published")
		return true
	})
}

func (d *draft) replacesAll(c *Cluster, listed jwks.Set) bool {
	had := false
	for _, key := range c.Keys {
		if key.Status != Current {
			continue
		}
		if slices.ContainsFunc(listed, key.JWK.Equal) {
			return false
		}
		had = true
	}
	return had
}

// list makes a listed key current, and reports whether it was not published before.
func (d *draft) list(c *Cluster, jwk jwks.Key, at time.Time, vouchedBy []string) (added bool) {
	key := c.key(jwk.SPKI())
	if key == nil {
		c.addKey(Key{JWK: jwk, Status: Current, Added: d.now, VouchedBy: vouchedBy, Listed: at})
		d.change(KeyAdded, c, jwk.ID(), "%s, on the word of %v", jwk.Algorithm(), vouchedBy)
		return true
	}
	switch key.Status {
	case Announced:
		d.change(KeyCurrent, c, jwk.ID(), "announced at %s, now reported", key.Added.Format(time.RFC3339))
	case Retiring:
		d.change(KeyReturned, c, jwk.ID(), "missing since %s, reported again", key.Missing.Format(time.RFC3339))
	case Current:
	}
	key.Status, key.Listed, key.Missing, key.Until = Current, at, time.Time{}, time.Time{}
	return false
}

// retireUnlisted starts the retention of current keys that a complete snapshot lacks. Announced keys wait.
func (d *draft) retireUnlisted(c *Cluster, listed jwks.Set, at time.Time) {
	for i := range c.Keys {
		key := &c.Keys[i]
		if key.Status == Current && !slices.ContainsFunc(listed, key.JWK.Equal) {
			d.retire(c, key, at)
		}
	}
}

func (d *draft) retire(c *Cluster, key *Key, at time.Time) {
	key.Status, key.Bootstrap, key.Until, key.Missing = Retiring, false, time.Time{}, d.now
	if at.After(d.now) {
		key.Missing = at
	}
	gone := key.Missing.Add(d.policy.Retention)
	d.change(KeyRetiring, c, key.JWK.ID(), "no longer reported; stays published until %s, and longer in silence", gone.Format(time.RFC3339))
}

// accept remembers the snapshot and, if an API server vouched for it just now, its key.
func (d *draft) accept(c *Cluster, o snapshot.Opened, belief snapshot.Belief) {
	d.accepted = true
	c.Seq, c.IssuedAt, c.Digest, c.Received = o.Seq, o.IssuedAt, o.Digest, d.now
	for i := range c.Keys {
		key := &c.Keys[i]
		key.Bootstrap = false
		if _, signed := belief.Signing[key.JWK.SPKI()]; signed && belief.Attested.After(key.Signed) {
			key.Signed = belief.Attested
		}
	}
	switch {
	case o.Complete():
		c.Additive = time.Time{}
	case c.Additive.IsZero():
		c.Additive = d.now
	}
	if belief.How == snapshot.Attested {
		c.remember(snapshot.Remember{Thumbprint: o.Key.ID(), Attested: belief.Attested, VouchedBy: belief.VouchedBy})
	}
	d.findBlocked(c)
}

func (c *Cluster) remember(entry snapshot.Remember) {
	c.Remembered = slices.DeleteFunc(c.Remembered, func(r snapshot.Remember) bool { return r.Thumbprint == entry.Thumbprint })
	c.Remembered = append(c.Remembered, entry)
	if len(c.Remembered) > MaxRemembered {
		c.Remembered = c.Remembered[1:] // the one attested longest ago
	}
}
