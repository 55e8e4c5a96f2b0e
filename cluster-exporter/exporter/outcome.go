package exporter

import (
	"fmt"
	"strings"
)

func (o outcome) String() string {
	return [...]string{accepted: "accepted", superseded: "superseded", refused: "refused", failed: "failed"}[o]
}

// delivery tells what came of a snapshot.
func (r *reporter) delivery(publisher string, came outcome, a answer, err error, reading *Reading) {
	about := "destination " + publisher
	r.metrics.deliveries.WithLabelValues(publisher, came.String(), label(a, err)).Inc()
	switch came {
	case accepted:
		r.metrics.accepted.WithLabelValues(publisher).Set(float64(r.now().Unix()))
		r.clear(condition{deliveryFailed, about})
		r.clear(condition{snapshotRefused, about})
		vouched := r.signedWith()
		r.mu.Lock()
		r.vouched[publisher] = vouched
		r.mu.Unlock()
		r.logger.Info("the publisher accepted the snapshot", "publisher", publisher, "keys", reading.Keys.IDs(),
			"listed", reading.APIServers.Listed, "read", reading.APIServers.Read)
	case superseded:
		r.logger.Info("the publisher has a newer snapshot; reading again", "publisher", publisher, "code", a.Code, "seq", a.Seq)
	case failed:
		r.raise(condition{deliveryFailed, about}, label(a, err), fmt.Sprintf("publisher %s: %s; it is tried again", publisher, cut(failure(a, err), 300)))
	case refused:
		r.clear(condition{deliveryFailed, about})
		r.raise(condition{snapshotRefused, about}, label(a, err), r.refusal(publisher, a))
	}
}

func failure(a answer, err error) string {
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", a.HTTPStatus, a.Code, a.Detail))
}

func (r *reporter) refusal(publisher string, a answer) string {
	words := []string{fmt.Sprintf("publisher %s refused the snapshot: HTTP %d %s.", publisher, a.HTTPStatus, cut(a.Code, 40))}
	if a.Detail != "" {
		words = append(words, "It says: "+cut(a.Detail, 300)+".")
	}
	words = append(words, r.remedy(publisher, a.Code))
	if a.Instance != "" {
		words = append(words, "Its log has more under "+cut(a.Instance, 64)+".")
	}
	return strings.Join(words, " ")
}

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
			"publisher name and service account, or somebody rotated without announcing. If it was you: `kube-iam-assume operate enroll`. If not: treat it as an incident.", now)
	}
	return fmt.Sprintf("The publisher trusts keys that vouched before (last accepted: %s); the API servers sign with %s. Somebody rotated without announcing. "+
		"If it was you: `kube-iam-assume operate enroll` with the new key. If not: treat it as an incident.", before, now)
}

const codeNotBelieved = "not-believed"

const versions = "Exporter and publisher differ in version: upgrade publishers first, then exporters."

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
	"key-conflict":    "A key ID that is published stands for another key now: correct the external signer, or treat it as an incident.",
	"owned":           "Another cluster of this issuer has the same key. If the cluster was cloned, give it a key of its own; if not, treat it as an incident.",
	"removed":         "The cluster was removed at the publisher. Uninstall this exporter, or re-enroll the cluster with a higher generation.",
	"generation":      "An older deploy of the publisher's settings was rolled out: deploy the newer one again.",
	"private-key":     "INCIDENT: a private key was in the snapshot. Rotate the cluster's signing key now.",
}

// label is the code for metrics and conditions. A publisher can't invent any.
func label(a answer, err error) string {
	switch {
	case err != nil:
		return "no-answer"
	case a.HTTPStatus == 200:
		return ""
	}
	switch a.Code {
	case codeNotBelieved, codeSuperseded, "retry", "unavailable", "state-format":
		return a.Code
	}
	if _, ok := remedies[a.Code]; ok {
		return a.Code
	}
	return fmt.Sprintf("http-%dxx", a.HTTPStatus/100)
}
