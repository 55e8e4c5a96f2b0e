package publish

import (
	"errors"
	"net/http"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Refusal is the answer to a snapshot that was judged and not accepted. Nothing that is stored has changed.
type Refusal struct {
	Code  string // what the sender is told: stable, see Codes
	Known bool   // the sender showed that it belongs to the cluster, so it was told the reason
	Seq   int64  // with "superseded": the sequence number to go on from
	Err   error  // the reason, for the log
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// What a stranger is told. Anything more would help somebody who probes.
const (
	CodeMalformed   = "malformed"
	CodeTooLarge    = "too-large"
	CodeNotBelieved = "not-believed"

	CodeSuperseded = "superseded"
	CodeRetry      = "retry"
	CodeUnready    = "unavailable" // the state is lost: a person has to act
)

// reasons maps every decision to its code and HTTP status. The first match counts.
var reasons = []struct {
	err    error
	code   string
	status int
}{
	{snapshot.ErrTooLarge, CodeTooLarge, http.StatusRequestEntityTooLarge},
	{jwks.ErrPrivate, "private-key", http.StatusBadRequest},
	{jwks.ErrSymmetric, "symmetric-key", http.StatusBadRequest},
	{jwks.ErrWeak, "weak-key", http.StatusBadRequest},
	{jwks.ErrUnsupported, "unsupported-key", http.StatusBadRequest},
	{jwks.ErrDuplicate, "duplicate-key", http.StatusBadRequest},
	{jwks.ErrTooLarge, "too-many-keys", http.StatusBadRequest},
	{jwks.ErrMalformed, "malformed-key", http.StatusBadRequest},
	{snapshot.ErrHeader, "header", http.StatusBadRequest},
	{snapshot.ErrForm, CodeMalformed, http.StatusBadRequest},
	{snapshot.ErrCluster, "cluster", http.StatusForbidden},
	{rotation.ErrUnknownCluster, "unknown-cluster", http.StatusForbidden},
	{snapshot.ErrAudience, "audience", http.StatusForbidden},
	{snapshot.ErrIssuer, "issuer", http.StatusForbidden},
	{snapshot.ErrExpired, "expired", http.StatusForbidden},
	{snapshot.ErrFuture, "future", http.StatusForbidden},
	{snapshot.ErrTooLong, "valid-too-long", http.StatusForbidden},
	{snapshot.ErrSignature, "signature", http.StatusForbidden},
	{snapshot.ErrAttestation, "attestation", http.StatusForbidden},
	{snapshot.ErrNotBelieved, CodeNotBelieved, http.StatusForbidden},
	{rotation.ErrFork, "fork", http.StatusConflict},
	{rotation.ErrSuperseded, CodeSuperseded, http.StatusConflict},
	{rotation.ErrRemoved, "removed", http.StatusForbidden},
	{rotation.ErrGeneration, "generation", http.StatusForbidden},
	{rotation.ErrNoKeys, "no-keys", http.StatusForbidden},
	{rotation.ErrTooManyKeys, "too-many-keys", http.StatusForbidden},
	{rotation.ErrKeyID, "key-id", http.StatusForbidden},
	{rotation.ErrKeyConflict, "key-conflict", http.StatusForbidden},
	{rotation.ErrOwned, "owned", http.StatusForbidden},
	{rotation.ErrFormat, "state-format", http.StatusServiceUnavailable},
	{ErrStateLost, CodeUnready, http.StatusServiceUnavailable},
	{ErrLogConflict, CodeUnready, http.StatusServiceUnavailable},
	{ErrTarget, CodeRetry, http.StatusServiceUnavailable},
	{ErrRetry, CodeRetry, http.StatusServiceUnavailable},
}

// reason is the code that the log has for an error.
func reason(err error) (code string, status int) {
	for _, r := range reasons {
		if errors.Is(err, r.err) {
			return r.code, r.status
		}
	}
	return CodeRetry, http.StatusServiceUnavailable
}

// Retryable reports whether the input that came to this error may succeed later, unchanged: a queue keeps it. Everything else was refused
// for good.
func Retryable(err error) bool {
	_, status := reason(err)
	return status == http.StatusServiceUnavailable
}

// refuse decides what the sender is told.
func refuse(err error, known bool, seq int64) *Refusal {
	code, status := reason(err)
	if !known {
		code = publicCode(code, status)
	}
	refusal := &Refusal{Code: code, Known: known, Err: err}
	if code == CodeSuperseded {
		refusal.Seq = seq
	}
	return refusal
}

func publicCode(code string, status int) string {
	switch {
	case code == CodeTooLarge:
		return CodeTooLarge
	case status == http.StatusBadRequest:
		return CodeMalformed
	}
	return CodeNotBelieved
}
