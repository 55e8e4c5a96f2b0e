package exporter

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// remedies are what to do about a publisher's refusal, by its code.
var remedies = map[string]string{
	"malformed":     "Exporter and publisher differ in version: upgrade publishers first, then exporters.",
	"too-large":     "Exporter and publisher differ in version: upgrade publishers first, then exporters.",
	"audience":      "The destination's publisher name is not the publisher's own: correct one of them.",
	"issuer":        "The issuer in the exporter's settings is not the one enrolled: they must be the same byte for byte.",
	"expired":       "The clocks of cluster and publisher differ by more than 15 minutes: correct the cluster's.",
	"future":        "The cluster's clock is more than 5 minutes ahead: correct it.",
	"attestation":   "The API server's word did not hold: compare exporterServiceAccount of the enrollment with serviceAccount here, and the clocks.",
	"fork":          "Two different snapshots have one number. If no second exporter shares this snapshot key, treat it as an incident.",
	"no-keys":       "All keys that the API servers list are revoked: rotate to a new key, announcing it first.",
	"too-many-keys": "Wait until retiring keys are gone, or remove unused --service-account-key-file flags.",
	"key-id":        "The cluster has an external signer: set keyIDs: external in its enrollment.",
	"owned":         "Another cluster of this issuer has the same key. If the cluster was cloned, give it a key of its own; if not, treat it as an incident.",
	"removed":       "The cluster was removed at the publisher. Uninstall this exporter, or re-enroll the cluster with a higher generation.",
	"generation":    "An older deploy of the publisher's settings was rolled out: deploy the newer one again.",
	"private-key":   "INCIDENT: a private key was in the snapshot. Rotate the cluster's signing key now.",
}

// remedy explains a code. Not being believed is the one that people meet: a rotation without announcement, or a theft.
func (r *reporter) remedy(code string) string {
	if code != "not-believed" {
		if text, ok := remedies[code]; ok {
			return text
		}
		return "The publisher's log says more, under the instance of its answer."
	}
	r.mu.Lock()
	before, now := strings.Join(r.vouched, ", "), strings.Join(r.signedWith(), ", ")
	r.mu.Unlock()
	if before == "" {
		before = "another key"
	}
	return fmt.Sprintf("The publisher trusts %s, the API servers sign with %s. Somebody rotated without announcing, or the cluster is not enrolled there. "+
		"If it was you: `kube-iam-assume operate enroll` with the new key at the publisher. If not: treat it as an incident.", before, now)
}

// known keeps a publisher from inventing metric labels.
func known(code string) string {
	if _, ok := remedies[code]; ok || code == "not-believed" {
		return code
	}
	return "other"
}

// withoutURL keeps a URL, which may hold what should not be repeated, out of messages.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
