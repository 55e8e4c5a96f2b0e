package rotation

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// The refusals of this package. Those of package snapshot pass through.
var (
	ErrUnknownCluster = errors.New("cluster is not enrolled at this issuer")
	ErrRemoved        = errors.New("cluster was removed")
	ErrGeneration     = errors.New("settings are of an older generation than the state")
	ErrFork           = errors.New("another snapshot has the same sequence number")
	ErrSuperseded     = errors.New("a newer snapshot was accepted")
	ErrNoKeys         = errors.New("no keys")
	ErrTooManyKeys    = errors.New("too many keys")
	ErrKeyID          = errors.New("key ID is not the one derived from the key")
	ErrKeyConflict    = errors.New("key ID and key were seen in another pair")
	ErrOwned          = errors.New("key belongs to another cluster of the issuer")
	ErrRevoked        = errors.New("key is revoked")
	ErrStatement      = errors.New("statement can't be carried out")
	ErrFormat         = errors.New("state is of a newer format")
)

// Events that change the state.
const (
	KeyAdded          = "key.added"
	KeyAnnounced      = "key.announced"
	KeyCurrent        = "key.current"  // an announced key was reported
	KeyReturned       = "key.returned" // a retiring key was reported again
	KeyRetiring       = "key.retiring"
	KeyGone           = "key.gone"
	KeyLapsed         = "key.lapsed"
	KeyRevoked        = "key.revoked"
	KeyLifted         = "key.lifted"
	KeysReplaced      = "keys.replaced" // no key of the snapshot before is left
	ClusterEnrolled   = "cluster.enrolled"
	ClusterReenrolled = "cluster.reenrolled"
	ClusterRemoved    = "cluster.removed"
	StateRecovered    = "state.recovered"
)

// Events that only tell.
const (
	ClusterStale      = "cluster.stale"
	ClusterMissing    = "cluster.missing"    // in the state, not in the settings
	EnrollmentIgnored = "enrollment.ignored" // settings changed that take effect only with a higher generation
	GenerationOld     = "generation.old"
	RevokedListed     = "revoked.listed" // an API server still lists a revoked key
	RetirementBlocked = "retirement.blocked"
	ForkDetected      = "fork.detected"
	ClockUnsure       = "clock.unsure"
)

// Change is one event about a cluster or a key of it.
type Change struct {
	Event   string `json:"event"`
	Cluster string `json:"cluster,omitzero"`
	KeyID   string `json:"keyID,omitzero"`
	Detail  string `json:"detail,omitzero"`
}

// Decision is what came of an input.
type Decision struct {
	State    State           // the next state; the given one if nothing is to be written
	Write    bool            // State differs from the given one and must be committed
	Changes  []Change        // what changed of the keys: kept in the log
	Findings []Change        // what somebody should know though nothing changed
	Belief   snapshot.Belief // why a snapshot was believed
	Seq      int64           // the cluster's sequence number after the decision, or the one that stands against the snapshot
}

// draft is a state being changed.
type draft struct {
	State
	before   State
	policy   Policy
	now      time.Time
	sure     bool // the clock is not in doubt
	accepted bool // a snapshot was accepted
	changes  []Change
	findings []Change
}

// begin applies the settings to a copy of the state.
func begin(state State, now time.Time, policy Policy) (*draft, error) {
	if state.Format > Format {
		return nil, fmt.Errorf("%w: format %d, this version knows %d; deploy the newer version again", ErrFormat, state.Format, Format)
	}
	d := &draft{State: state.clone(), before: state, policy: policy, now: now.UTC().Truncate(time.Second), sure: true}
	d.Format, d.Issuer = Format, policy.Issuer
	d.applySettings()
	return d, nil
}

// decide lets time do its part and seals the draft into a decision.
func (d *draft) decide() Decision {
	d.expire()
	write := d.accepted || len(d.changes) > 0 || !d.Unsure.Equal(d.before.Unsure)
	decision := Decision{State: d.before, Changes: d.changes, Findings: d.findings}
	if !write {
		return decision
	}
	d.Revision++
	if d.sure {
		d.Written, d.Unsure = d.now, time.Time{}
	}
	if !slices.Equal(d.Published().Encode(), d.before.Published().Encode()) || d.Publication == 0 {
		d.Publication++
	}
	decision.State, decision.Write = d.State, true
	return decision
}

func (d *draft) change(event string, c *Cluster, id, format string, args ...any) {
	d.changes = append(d.changes, Change{Event: event, Cluster: c.ID, KeyID: id, Detail: fmt.Sprintf(format, args...)})
}

func (d *draft) find(event string, c *Cluster, id, format string, args ...any) {
	d.findings = append(d.findings, Change{Event: event, Cluster: c.ID, KeyID: id, Detail: fmt.Sprintf(format, args...)})
}

// admissible reports whether a key may be published for a cluster: it is nobody else's, and it keeps its ID.
func (d *draft) admissible(c *Cluster, key jwks.Key, externalIDs bool) error {
	if !externalIDs && !key.HasDerivedID() {
		return fmt.Errorf("%w: %q; set keyIDs: external if the cluster has an external signer", ErrKeyID, key.ID())
	}
	for i := range d.Clusters {
		other := &d.Clusters[i]
		for _, k := range other.Keys {
			sameID, sameKey := k.JWK.ID() == key.ID(), k.JWK.SPKI() == key.SPKI()
			switch {
			case other.ID != c.ID && (sameID || sameKey):
				return fmt.Errorf("%w: key %q of %q", ErrOwned, key.ID(), other.ID)
			case sameID != sameKey:
				return fmt.Errorf("%w: key %q is known as %q", ErrKeyConflict, key.ID(), k.JWK.ID())
			}
		}
		if other.ID != c.ID && other.revoked(key) {
			return fmt.Errorf("%w: key %q was revoked for %q", ErrOwned, key.ID(), other.ID)
		}
	}
	return nil
}

// withinLimits reports whether the cluster's keys fit its share of the issuer.
func (d *draft) withinLimits(c *Cluster) error {
	share := min(MaxKeysPerCluster, jwks.MaxKeys/max(1, len(d.Clusters)))
	if len(c.Keys) > share {
		return fmt.Errorf("%w: %d published keys of %q, its share is %d; nothing is evicted to make room: wait for retiring keys to go",
			ErrTooManyKeys, len(c.Keys), c.ID, share)
	}
	if size := len(Render(d.State)); size > jwks.MaxBytes {
		return fmt.Errorf("%w: the JWKS would have %d bytes, at most %d", ErrTooManyKeys, size, jwks.MaxBytes)
	}
	return nil
}
