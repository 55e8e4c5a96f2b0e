package rotation

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// applySettings brings in what the settings say and the state does not know yet. Each thing takes effect once: deploying the same
// settings again never brings back a key that retired or was revoked.
func (d *draft) applySettings() {
	for _, m := range d.policy.Members {
		c := d.cluster(m.Cluster)
		switch {
		case c == nil && m.Removed:
			d.addCluster(Cluster{ID: m.Cluster, Generation: m.Generation, Enrolled: d.now, Removed: true, Keys: []Key{}})
			continue
		case c == nil:
			c = d.addCluster(Cluster{ID: m.Cluster, Enrolled: d.now, Keys: []Key{}})
			d.enrollFromSettings(c, m, ClusterEnrolled)
		case m.Generation > c.Generation:
			d.enrollFromSettings(c, m, ClusterReenrolled)
		case m.Generation < c.Generation:
			d.find(GenerationOld, c, "", "the settings have generation %d, the state has %d: a deploy was rolled back", m.Generation, c.Generation)
			continue
		case c.Bootstrap != digest(m.Bootstrap):
			d.find(EnrollmentIgnored, c, "", "bootstrapKeys changed without a higher generation: no effect")
		}
		d.applyMember(c, m)
	}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		if _, ok := d.policy.Member(c.ID); !ok && !c.Done() {
			d.find(ClusterMissing, c, "", "not in the settings; its keys stay published. Put it back, with removed: true to retire it")
		}
	}
}

func (d *draft) applyMember(c *Cluster, m Member) {
	if c.ServiceAccount != m.ServiceAccount {
		c.ServiceAccount, c.Remembered = m.ServiceAccount, nil
	}
	for _, id := range m.Revoked {
		d.revoke(c, id, "revokedKeys in the settings")
	}
	for _, key := range m.Announced {
		if slices.Contains(c.Applied, applied(key)) {
			continue
		}
		if err := d.announce(c, m, key); err != nil {
			d.find(EnrollmentIgnored, c, key.ID(), "announcedKeys: %v", err)
			continue
		}
		c.Applied = append(c.Applied, applied(key))
	}
	if m.Removed && !c.Removed {
		d.remove(c)
	}
}

// applied is by which the state knows an announcement of the settings: the key, and its ID if that does not follow from it.
func applied(key jwks.Key) string {
	if key.HasDerivedID() {
		return key.SPKI()
	}
	return key.SPKI() + " " + key.ID()
}

func (d *draft) enrollFromSettings(c *Cluster, m Member, event string) {
	c.Generation, c.Bootstrap, c.ServiceAccount = m.Generation, digest(m.Bootstrap), m.ServiceAccount
	d.enroll(c, m, m.Bootstrap, event, ByEnrollment)
}

// enroll starts the trust in a cluster anew: only these keys vouch until its first snapshot. What else is published retires, so
// that tokens already issued go on being accepted.
func (d *draft) enroll(c *Cluster, m Member, keys jwks.Set, event, word string) {
	d.change(event, c, "", "generation %d with the keys %v", c.Generation, keys.IDs())
	c.Enrolled, c.Removed = d.now, false
	c.Seq, c.IssuedAt, c.Digest, c.Received, c.Additive = 0, time.Time{}, "", time.Time{}, time.Time{}
	c.Remembered, c.Applied = nil, nil
	for _, key := range keys {
		d.correctID(c, m, key)
	}
	for i := range c.Keys {
		if key := &c.Keys[i]; key.Status != Retiring && !slices.ContainsFunc(keys, key.JWK.Equal) {
			d.retire(c, key, d.now)
		}
	}
	for _, key := range keys {
		if err := d.bootstrap(c, m, key, word); err != nil {
			d.find(EnrollmentIgnored, c, key.ID(), "bootstrap key: %v", err)
		}
	}
}

// correctID gives a key the ID by which the operator knows it, if no snapshot has listed it by another: then the first one was a mistake,
// such as the ID that Kubernetes derives where an external signer has its own, and the cluster's snapshots would be refused for ever.
func (d *draft) correctID(c *Cluster, m Member, jwk jwks.Key) {
	i := slices.IndexFunc(c.Keys, func(k Key) bool { return k.JWK.SPKI() == jwk.SPKI() })
	if i < 0 || !c.Keys[i].Listed.IsZero() || c.Keys[i].JWK.ID() == jwk.ID() {
		return
	}
	before, key := slices.Clone(c.Keys), c.Keys[i]
	c.Keys = slices.Delete(c.Keys, i, i+1)
	if c.revoked(jwk) || d.admissible(c, jwk, m.ExternalIDs) != nil { // whoever asked says why
		c.Keys = before
		return
	}
	mistaken := key.JWK.ID()
	key.JWK = jwk
	c.addKey(key)
	d.change(KeyAdded, c, jwk.ID(), "known as %q before, by which no API server has listed it", mistaken)
}

func (d *draft) bootstrap(c *Cluster, m Member, jwk jwks.Key, word string) error {
	if c.revoked(jwk) {
		return fmt.Errorf("%w: lift it first", ErrRevoked)
	}
	if err := d.admissible(c, jwk, m.ExternalIDs); err != nil {
		return err
	}
	if c.key(jwk.SPKI()) == nil {
		c.addKey(Key{JWK: jwk, Added: d.now, VouchedBy: []string{word}})
		d.change(KeyAdded, c, jwk.ID(), "%s, on the word of the %s", jwk.Algorithm(), word)
	}
	key := c.key(jwk.SPKI())
	key.Status, key.Bootstrap, key.Missing, key.Until = Current, true, time.Time{}, time.Time{}
	return nil
}

func (d *draft) announce(c *Cluster, m Member, jwk jwks.Key) error {
	if c.revoked(jwk) {
		return fmt.Errorf("%w: %q; lift it first", ErrRevoked, jwk.ID())
	}
	d.correctID(c, m, jwk)
	if err := d.admissible(c, jwk, m.ExternalIDs); err != nil {
		return err
	}
	key := c.key(jwk.SPKI())
	if key != nil && key.Status != Retiring {
		return nil
	}
	if key == nil {
		c.addKey(Key{JWK: jwk, Added: d.now, VouchedBy: []string{ByOperator}})
		key = c.key(jwk.SPKI())
	}
	key.Status, key.Missing, key.Until = Announced, time.Time{}, d.now.Add(AnnouncedFor)
	d.change(KeyAnnounced, c, jwk.ID(), "published and trusted before its first use; lapses %s", key.Until.Format(time.RFC3339))
	return d.withinLimits(c)
}

// revoke withdraws a key at once and keeps it out, known or not. Whatever it vouched for stays: see withdrawWord.
func (d *draft) revoke(c *Cluster, id, reason string) {
	revocation := Revocation{Key: id, ID: id, At: d.now, Reason: reason}
	i := slices.IndexFunc(c.Keys, func(k Key) bool { return k.JWK.ID() == id || k.JWK.SPKI() == id })
	if i >= 0 {
		revocation.Key, revocation.ID = c.Keys[i].JWK.SPKI(), c.Keys[i].JWK.ID()
		c.Keys = slices.Delete(c.Keys, i, i+1)
	}
	if slices.ContainsFunc(c.Revoked, func(r Revocation) bool { return r.Key == revocation.Key || r.ID == revocation.ID }) {
		return
	}
	c.Revoked = append(c.Revoked, revocation)
	c.Remembered = slices.DeleteFunc(c.Remembered, func(r snapshot.Remember) bool { return slices.Contains(r.VouchedBy, revocation.Key) })
	d.change(KeyRevoked, c, revocation.ID, "withdrawn, and kept out until lifted: %s", reason)
}

func (d *draft) remove(c *Cluster) {
	c.Removed, c.Remembered = true, nil
	d.change(ClusterRemoved, c, "", "its keys retire; an empty key set stays")
	for i := range c.Keys {
		if c.Keys[i].Status != Retiring {
			d.retire(c, &c.Keys[i], d.now)
		}
	}
}

func digest(keys jwks.Set) string {
	sum := sha256.Sum256(keys.Canonical())
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
