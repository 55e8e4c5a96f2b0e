package rotation

import (
	"slices"
	"time"
)

const (
	// A clock that is further from the last commit's than this may have jumped.
	maxAhead  = time.Hour
	maxBehind = 5 * time.Minute

	// A clock in doubt is believed when it agrees with itself after secondLook, and not later than maxAhead.
	secondLook = 10 * time.Minute
)

// Reconcile applies the settings and the time, and says what somebody should know. The error is ErrFormat.
func Reconcile(state State, now time.Time, policy Policy) (Decision, error) {
	d, err := begin(state, now, policy)
	if err != nil {
		return Decision{State: state}, err
	}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		d.findStale(c)
		d.findBlocked(c)
	}
	return d.decide(), nil
}

func (d *draft) findStale(c *Cluster) {
	last := c.Received
	if last.Before(c.Enrolled) {
		last = c.Enrolled
	}
	if silence := d.now.Sub(last); !c.Removed && silence > StaleAfter {
		d.find(ClusterStale, c, "", "no accepted snapshot for %s; all its published keys stay", silence)
	}
}

func (d *draft) findBlocked(c *Cluster) {
	if !c.Additive.IsZero() && d.now.Sub(c.Additive) > BlockedAfter {
		d.find(RetirementBlocked, c, "", "not every API server was read since %s; no key can retire", c.Additive.Format(time.RFC3339))
	}
}

// expire removes what time has run out for, unless the clock itself is in doubt: a clock that jumped must not remove keys.
func (d *draft) expire() {
	if d.clockIsNear() {
		d.Unsure = time.Time{} // what was doubtful has passed: two jumps do not add up to an agreement
	}
	if !d.anythingDue() {
		return
	}
	if !d.clockAgrees() {
		d.sure = false
		return
	}
	for i := range d.Clusters {
		d.dropDue(&d.Clusters[i])
	}
}

func (d *draft) anythingDue() bool {
	return slices.ContainsFunc(d.Clusters, func(c Cluster) bool {
		return slices.ContainsFunc(c.Keys, func(key Key) bool { return d.due(&c, key) })
	})
}

// heard reports whether what the cluster lists is known now. In silence, or while an API server is not read, a key that was missing may be signing
// again, so that time alone removes nothing. Who removes a cluster knows.
func (d *draft) heard(c *Cluster) bool {
	return c.Removed || !c.Received.IsZero() && c.Additive.IsZero() && d.now.Sub(c.Received) <= StaleAfter
}

func (d *draft) due(c *Cluster, key Key) bool {
	if !d.heard(c) {
		return false
	}
	switch key.Status {
	case Retiring:
		return !d.now.Before(key.Missing.Add(d.policy.Retention))
	case Announced:
		return !d.now.Before(key.Until)
	case Current:
	}
	return false
}

func (d *draft) dropDue(c *Cluster) {
	c.Keys = slices.DeleteFunc(c.Keys, func(key Key) bool {
		switch {
		case !d.due(c, key):
			return false
		case key.Status == Announced:
			d.change(KeyLapsed, c, key.JWK.ID(), "announced at %s and never reported", key.Added.Format(time.RFC3339))
		default:
			d.change(KeyGone, c, key.JWK.ID(), "missing since %s, retention over", key.Missing.Format(time.RFC3339))
		}
		return true
	})
}

// clockIsNear reports whether the clock is where the last commit makes one expect it.
func (d *draft) clockIsNear() bool {
	written := d.before.Written
	return written.IsZero() || !d.now.After(written.Add(maxAhead)) && !d.now.Before(written.Add(-maxBehind))
}

func (d *draft) clockAgrees() bool {
	if d.clockIsNear() {
		return true
	}
	unsure := d.before.Unsure
	switch {
	case unsure.IsZero() || d.now.Before(unsure) || d.now.After(unsure.Add(maxAhead)):
		d.Unsure = d.now
		d.findings = append(d.findings, Change{Event: ClockUnsure, Detail: "it is far from the last commit's; nothing is removed before a second look"})
		return false
	case d.now.Before(unsure.Add(secondLook)):
		return false
	}
	return true
}
