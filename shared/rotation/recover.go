package rotation

import (
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Remains is what is left of an issuer whose state was lost.
type Remains struct {
	Clusters    []Cluster // as the last record of the log has them; none if the log is lost too
	Log         Log
	Revision    int64
	Published   jwks.Set // the public JWKS
	Publication uint32   // its number
}

// Rebuild makes a state from what remains. Older snapshots can't be replayed into it: every cluster's sequence number starts at now.
// A published key that the log does not know stays published and retires, if the issuer has one cluster that can own it; on a
// shared issuer it is named in the findings and withdrawn. The number of the public document is never reached again.
func Rebuild(remains Remains, now time.Time, policy Policy) (Decision, error) {
	state := State{
		Format: Format, Issuer: policy.Issuer, Revision: remains.Revision,
		Publication: remains.Publication, Clusters: remains.Clusters, Log: remains.Log,
	}
	d, err := begin(state, now, policy)
	if err != nil {
		return Decision{}, err
	}
	for i := range d.Clusters {
		c := &d.Clusters[i]
		c.Seq, c.Digest = max(c.Seq, now.UnixMilli()), ""
	}
	for _, key := range remains.Published {
		d.adopt(key)
	}
	d.changes = append(d.changes, Change{Event: StateRecovered, Detail: "rebuilt from the log and the public documents"})
	decision := d.decide()
	decision.State.Publication = max(decision.State.Publication, remains.Publication+1)
	return decision, nil
}

func (d *draft) adopt(jwk jwks.Key) {
	for i := range d.Clusters {
		if c := &d.Clusters[i]; c.key(jwk.SPKI()) != nil || c.revoked(jwk) {
			return
		}
	}
	if len(d.Clusters) != 1 {
		d.findings = append(d.findings, Change{
			Event: KeyGone, KeyID: jwk.ID(), Detail: "published, not in the log, and no way to tell whose it is: withdrawn until a snapshot lists it",
		})
		return
	}
	c := &d.Clusters[0]
	c.addKey(Key{JWK: jwk, Added: d.now, VouchedBy: []string{ByOperator}, Status: Current})
	d.retire(c, c.key(jwk.SPKI()), d.now)
}
