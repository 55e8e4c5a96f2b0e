package snapshot

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// MaxAttestationLifetime is the longest from "iat" to "exp" that an attestation may have.
const MaxAttestationLifetime = time.Hour

// Trust is whom a publisher takes at its word about one cluster's snapshot key.
type Trust struct {
	Issuer         string
	ServiceAccount string     // "namespace/name" of the enrolled exporter
	Vouchers       jwks.Set   // keys of the cluster whose attestations count
	Acquainted     jwks.Set   // keys that no longer count, but show that the sender belongs to the cluster
	Pinned         jwks.Set   // snapshot keys that the enrollment lists
	Remembered     []Remember // snapshot keys that were attested before
}

// Remember is a snapshot key that was attested, kept so that a hard key swap does not silence an exporter that stays up.
type Remember struct {
	Thumbprint string    `json:"thumbprint"`
	Attested   time.Time `json:"attested"`  // the attestation's "iat"
	VouchedBy  []string  `json:"vouchedBy"` // SPKIs of the keys that attested
}

// How a publisher came to believe a snapshot key.
const (
	Pinned     = "pinned"
	Attested   = "attested"
	Remembered = "remembered"
)

// Belief says why a snapshot is believed.
type Belief struct {
	How       string            // Pinned, Attested or Remembered
	VouchedBy []string          // sorted SPKIs of the cluster's keys on whose word; the snapshot key's, if pinned
	Attested  time.Time         // the newest good attestation's "iat"; zero if there was none
	Signing   map[string]string // SPKI of each key seen to sign a good attestation → its ID
	Known     bool              // some key of the cluster, trusted or not any more, signed an attestation
}

// Believe decides whether somebody trusted vouches for the snapshot key: the enrollment, an API server now, or an API server
// before. An attestation under an unknown key ID is passed over; one that names a voucher and does not hold refuses the snapshot.
// The errors are ErrAttestation and ErrNotBelieved; with either, Belief.Known still tells whether the sender may be told more.
func (o Opened) Believe(trust Trust, now time.Time) (Belief, error) {
	belief := Belief{Signing: map[string]string{}}
	var failed error
	for i, token := range o.Attestations {
		a, err := parseAttestation(token)
		if err != nil {
			failed = fmt.Errorf("attestations[%d]: %w", i, err)
			continue
		}
		if key, ok := trust.Acquainted.ByID(a.keyID); ok && a.signedBy(key) {
			belief.Known = true
			continue
		}
		key, ok := trust.Vouchers.ByID(a.keyID)
		if !ok {
			continue
		}
		if !a.signedBy(key) {
			failed = fmt.Errorf("attestations[%d]: %w: not signed by the key %q it names", i, ErrAttestation, key.ID())
			continue
		}
		belief.Known = true
		if err := a.check(o.Key, trust, now); err != nil {
			failed = fmt.Errorf("attestations[%d] signed by key %q: %w", i, key.ID(), err)
			continue
		}
		belief.vouch(key, a.issuedAt)
	}
	if failed != nil {
		return belief, failed
	}
	return o.conclude(belief, trust, now)
}

func (b *Belief) vouch(key jwks.Key, at time.Time) {
	b.How = Attested
	b.Signing[key.SPKI()] = key.ID()
	if !slices.Contains(b.VouchedBy, key.SPKI()) {
		b.VouchedBy = append(b.VouchedBy, key.SPKI())
		slices.Sort(b.VouchedBy)
	}
	if at.After(b.Attested) {
		b.Attested = at
	}
}

func (o Opened) conclude(belief Belief, trust Trust, now time.Time) (Belief, error) {
	if belief.How == Attested {
		return belief, nil
	}
	for _, pinned := range trust.Pinned {
		if pinned.SPKI() == o.Key.SPKI() {
			belief.How, belief.VouchedBy, belief.Known = Pinned, []string{pinned.SPKI()}, true
			return belief, nil
		}
	}
	for _, r := range trust.Remembered {
		if r.Thumbprint == o.Key.ID() && r.Fresh(now) {
			belief.How, belief.VouchedBy, belief.Known = Remembered, r.VouchedBy, true
			return belief, nil
		}
	}
	return belief, fmt.Errorf("%w: %d attestations, none by a trusted key of the cluster", ErrNotBelieved, len(o.Attestations))
}

// RememberedFor is how long an attested snapshot key is believed without a new attestation.
const RememberedFor = 24 * time.Hour

// Fresh reports whether the memory still counts.
func (r Remember) Fresh(now time.Time) bool { return now.Before(r.Attested.Add(RememberedFor)) }

// attestation is a service account token, parsed and not yet verified.
type attestation struct {
	jws      *jose.JSONWebSignature
	keyID    string
	claims   claims
	issuedAt time.Time
}

// claims are those of a service account token that an attestation depends on. Kubernetes may add others.
type claims struct {
	Issuer     string          `json:"iss"`
	Subject    string          `json:"sub"`
	Audience   jwt.Audience    `json:"aud"`
	Expiry     jwt.NumericDate `json:"exp"`
	NotBefore  jwt.NumericDate `json:"nbf"`
	IssuedAt   jwt.NumericDate `json:"iat"`
	Kubernetes struct {
		Pod jsontext.Value `json:"pod"`
	} `json:"kubernetes.io"`
}

var tokenAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

func parseAttestation(token string) (attestation, error) {
	jws, err := jose.ParseSignedCompact(token, tokenAlgorithms)
	if err != nil {
		return attestation{}, fmt.Errorf("%w: not a service account token", ErrAttestation)
	}
	a := attestation{jws: jws, keyID: jws.Signatures[0].Protected.KeyID}
	if err := json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &a.claims); err != nil {
		return attestation{}, fmt.Errorf("%w: its claims are not those of a service account token", ErrAttestation)
	}
	a.issuedAt = a.claims.IssuedAt.Time().UTC()
	return a, nil
}

func (a attestation) signedBy(key jwks.Key) bool {
	if a.jws.Signatures[0].Protected.Algorithm != key.Algorithm() {
		return false
	}
	_, err := a.jws.Verify(key.Public())
	return err == nil
}

func (a attestation) check(snapshotKey jwks.Key, trust Trust, now time.Time) error {
	c := a.claims
	expiry, notBefore := c.Expiry.Time(), c.NotBefore.Time()
	switch {
	case c.Issuer != trust.Issuer:
		return fmt.Errorf("%w: its issuer is another", ErrAttestation)
	case c.Subject != Subject(trust.ServiceAccount):
		return fmt.Errorf("%w: it is not of the service account %s", ErrAttestation, trust.ServiceAccount)
	case len(c.Audience) != 1 || c.Audience[0] != AttestationAudience(snapshotKey):
		return fmt.Errorf("%w: its audience is not exactly this snapshot key", ErrAttestation)
	case c.Kubernetes.Pod != nil:
		return fmt.Errorf("%w: it is bound to a pod", ErrAttestation)
	case !now.Before(expiry):
		return fmt.Errorf("%w: it expired at %s", ErrAttestation, expiry.UTC().Format(time.RFC3339))
	case notBefore.After(now.Add(MaxSkew)) || a.issuedAt.After(now.Add(MaxSkew)):
		return fmt.Errorf("%w: it is from the future", ErrAttestation)
	case expiry.Sub(a.issuedAt) > MaxAttestationLifetime:
		return fmt.Errorf("%w: it is valid for %s, at most %s", ErrAttestation, expiry.Sub(a.issuedAt), MaxAttestationLifetime)
	}
	return nil
}
