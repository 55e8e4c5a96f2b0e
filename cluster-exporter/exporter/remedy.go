package exporter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	codeNotBelieved = "not-believed"

	versions = "Exporter and publisher differ in version: upgrade publishers first, then exporters."
)

// remedy explains a code. Not being believed is the one that people meet: a rotation without announcement, or a theft.
func (r *reporter) remedy(publisher, code string) string {
	if code != codeNotBelieved {
		if text, ok := remedies[code]; ok {
			return text
		}
		return "No publisher is known to answer so: is the URL right, ending in /v1/snapshots?"
	}
	now := strings.Join(r.signedWith(), ", ")
	r.mu.Lock()
	before := strings.Join(r.vouched[publisher], ", ")
	r.mu.Unlock()
	switch {
	case now == "":
		return "No API server vouches for this exporter: see the Event AttestationFailed."
	case before == "":
		return fmt.Sprintf("The API servers sign with %s, which the publisher does not trust: either the cluster is not enrolled there with this issuer, "+
			"publisher name and service account, or somebody rotated without announcing. If it was you: `kube-iam-assume operate enroll`. If not: treat it as an incident.%s", now, r.external())
	}
	return fmt.Sprintf("The publisher trusts keys that vouched before (last accepted: %s); the API servers sign with %s. Somebody rotated without announcing. "+
		"If it was you: `kube-iam-assume operate enroll` with the new key. If not: treat it as an incident.", before, now)
}

// external is one cause more where an external signer names the keys: enrolled without saying so, they are known by other IDs.
func (r *reporter) external() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.ContainsFunc(r.keys, func(key jwks.Key) bool { return !key.HasDerivedID() }) {
		return ""
	}
	return " An external signer names this cluster's keys: its enrollment needs keyIDs: external, and bootstrapKeys with the signer's IDs."
}

// remedies are what to do about a publisher's refusal, by its code.
var remedies = map[string]string{
	"malformed":       versions,
	"header":          versions,
	"signature":       versions,
	"too-large":       "The snapshot is too large: remove --service-account-key-file flags that are not needed any more.",
	"audience":        "The destination's publisher name is not the publisher's own: correct one of them.",
	"issuer":          "The issuer in the exporter's settings is not the one enrolled: they must be the same byte for byte.",
	"expired":         "The clocks of cluster and publisher differ by more than 15 minutes: correct the cluster's.",
	"future":          "The cluster's clock is more than 5 minutes ahead: correct it.",
	"valid-too-long":  "The cluster's clock was set back while a snapshot was made: it is made again.",
	"attestation":     "The API server's word did not hold: compare exporterServiceAccount of the enrollment with serviceAccount here, and the clocks.",
	"fork":            "Two different snapshots have one number, again: if no other exporter sends for this cluster, treat it as an incident.",
	"no-keys":         "All keys that the API servers list are revoked: rotate to a new key, announcing it first.",
	"too-many-keys":   "Wait until retiring keys are gone, or remove --service-account-key-file flags that are not needed any more.",
	"weak-key":        "A key is too weak to publish: replace it by RSA of 2048 to 4096 bits or by ECDSA.",
	"symmetric-key":   "A key is a shared secret, which can't be published: replace it.",
	"unsupported-key": "A key is of a kind that no cloud accepts: replace it by RSA or ECDSA.",
	"malformed-key":   "A key is not in the form of Kubernetes: see the API servers' --service-account-key-file flags.",
	"duplicate-key":   "Two API servers have one key ID for different keys: correct the external signer.",
	"key-id":          "The cluster has an external signer: set keyIDs: external in its enrollment.",
	"key-conflict": "A key ID and a key were seen in another pair before. If the key was announced by another ID than the external signer's: announce it again by that. " +
		"If not: correct the external signer, or treat it as an incident.",
	"owned":       "Another cluster of this issuer has the same key. If the cluster was cloned, give it a key of its own; if not, treat it as an incident.",
	"removed":     "The cluster was removed at the publisher. Uninstall this exporter, or re-enroll the cluster with a higher generation.",
	"generation":  "An older deploy of the publisher's settings was rolled out: deploy the newer one again.",
	"private-key": "INCIDENT: a private key was in the snapshot. Rotate the cluster's signing key now.",
}
