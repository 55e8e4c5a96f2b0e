package rotation

import (
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Times that are not settings.
const (
	// TrustWindow is how far behind the cluster's newest snapshot a current key's last listing may be for the key to vouch.
	TrustWindow = 24 * time.Hour

	// AnnouncedFor is how long an announced key waits for an API server to report it.
	AnnouncedFor = 7 * 24 * time.Hour

	// StaleAfter is the silence of a cluster that raises an alarm. It removes nothing.
	StaleAfter = 30 * time.Minute

	// BlockedAfter is how long a cluster may send only additive snapshots before an alarm.
	BlockedAfter = 24 * time.Hour

	// DefaultRetention is twice the longest token life that common webhooks ask for (86,400 s).
	DefaultRetention = 48 * time.Hour
)

// Limits of what is published.
const (
	MaxKeysPerCluster = 16
	MaxRemembered     = 4
)

// Policy is the settings of one issuer.
type Policy struct {
	Issuer    string
	Retention time.Duration // how long a key that left stays published
	Members   []Member      // the clusters of the issuer; more than one share it
}

// Member is the settings of one cluster.
type Member struct {
	Cluster        string
	Generation     int    // raised to re-enroll
	ServiceAccount string // "namespace/name" of the exporter
	Bootstrap      jwks.Set
	SnapshotKeys   jwks.Set // snapshot keys believed without attestation
	Announced      jwks.Set
	Revoked        []string // key IDs or SPKIs
	Removed        bool
	ExternalIDs    bool // key IDs are an external signer's, not derived from the key
}

// Member finds the settings of a cluster.
func (p Policy) Member(cluster string) (Member, bool) {
	for _, m := range p.Members {
		if m.Cluster == cluster {
			return m, true
		}
	}
	return Member{}, false
}

// trust is whom to believe about the snapshot key of a cluster now.
func (c *Cluster) trust(m Member, issuer string, now time.Time) snapshot.Trust {
	trust := snapshot.Trust{
		Issuer: issuer, ServiceAccount: m.ServiceAccount, Pinned: m.SnapshotKeys, Remembered: c.Remembered,
	}
	for _, key := range c.Keys {
		if c.vouches(key, now) {
			trust.Vouchers = append(trust.Vouchers, key.JWK)
		} else {
			trust.Acquainted = append(trust.Acquainted, key.JWK)
		}
	}
	for _, key := range m.Bootstrap {
		if c.key(key.SPKI()) == nil && !c.revoked(key) {
			trust.Acquainted = append(trust.Acquainted, key)
		}
	}
	return trust
}

// vouches is the whole rule of which of a cluster's keys are trusted.
func (c *Cluster) vouches(key Key, now time.Time) bool {
	switch key.Status {
	case Announced:
		return now.Before(key.Until)
	case Current:
		return key.Bootstrap || !key.Listed.IsZero() && c.IssuedAt.Sub(key.Listed) <= TrustWindow
	case Retiring:
	}
	return false
}
