// Package snapshot is the signed statement by which a cluster says what its keys are: how an exporter signs one, how a publisher
// opens one, and whose word a publisher takes for it.
//
// The envelope is a JWS in compact serialization (RFC 7515) with one ES256 signature by a snapshot key that the exporter made up at
// its start. That signature alone proves nothing; an API server's does, over the thumbprint of the snapshot key (see Believe).
// Every snapshot has exactly one encoding: Open refuses every other spelling of the same claims.
package snapshot

import (
	"errors"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// The decisions that Open and Believe make. A message says what was wrong; none quotes a token or the envelope.
var (
	ErrTooLarge = errors.New("snapshot too large")
	ErrForm     = errors.New("not a snapshot in its one form")
	ErrHeader   = errors.New("protected header is not the one that snapshots have")

	ErrCluster  = errors.New("for another cluster")
	ErrAudience = errors.New("for another publisher")
	ErrIssuer   = errors.New("for another issuer")

	ErrExpired = errors.New("expired")
	ErrFuture  = errors.New("from the future")
	ErrTooLong = errors.New("valid for too long")

	ErrSignature   = errors.New("signature is not by the snapshot key")
	ErrAttestation = errors.New("attestation does not hold")
	ErrNotBelieved = errors.New("nobody trusted vouches for the snapshot key")
)

const (
	// MaxBytes is the largest envelope: after base64 it must fit an Azure Storage queue message (64 KiB).
	MaxBytes = 45 << 10

	// MaxAttestations is the most tokens an envelope may carry.
	MaxAttestations = 8

	// Lifetime is how long an exporter lets a snapshot be believed; MaxLifetime is the longest a publisher accepts.
	Lifetime    = 15 * time.Minute
	MaxLifetime = time.Hour

	// MaxSkew is how far ahead of the publisher's clock a cluster's clock may be.
	MaxSkew = 5 * time.Minute

	// Type is the "typ" of the protected header.
	Type = "kube-iam-assume-snapshot+jwt"

	// AudiencePrefix and a snapshot key's thumbprint make the one audience of an attestation.
	AudiencePrefix = "kube-iam-assume:snapshot-key:"
)

// Snapshot is what a cluster says of its keys at one moment. Times have whole seconds.
type Snapshot struct {
	Cluster      string     // cluster ID
	Audience     []string   // names of the publishers it is for
	Issuer       string     // the issuer URL that the API servers use
	Seq          int64      // Unix time in milliseconds when the reading began, higher than any before
	IssuedAt     time.Time  // when it was made
	Expires      time.Time  // when to stop believing it
	APIServers   APIServers // how much of the control plane was read
	Keys         jwks.Set   // the union of what was read, sorted by key ID
	Key          jwks.Key   // the snapshot key
	Attestations []string   // service account tokens by which API servers vouch for Key
	Exporter     string     // version of the exporter
}

// APIServers counts the API servers of a cluster.
type APIServers struct {
	Listed int `json:"listed"`
	Read   int `json:"read"`
}

// Complete reports whether the snapshot speaks for every API server. One that does not may add keys, never retire one.
func (s Snapshot) Complete() bool { return s.APIServers.Read == s.APIServers.Listed }

// AttestationAudience is the audience that makes a service account token an attestation of a snapshot key.
func AttestationAudience(key jwks.Key) string { return AudiencePrefix + key.Thumbprint() }
