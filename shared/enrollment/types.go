// Package enrollment is the settings of a publisher: which issuers it publishes, for which clusters, and whom it believes.
package enrollment

import (
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Publisher is what a publisher may publish, and whom it believes.
type Publisher struct {
	Name    string // snapshots must name it in "aud"
	Issuers []Issuer
}

// Issuer is one issuer URL and the clusters whose keys are published there.
type Issuer struct {
	URL        string
	Path       string        // of the documents in the bucket, without leading slash; "" is the root
	Retention  time.Duration // how long a key that left stays published
	Shared     bool          // several clusters, each of which can then impersonate the others' workloads
	Internal   bool          // reachable at private addresses only
	Mirrors    []string      // base URLs of other publishers' documents of the same issuer
	ServedAt   string        // base URL of this publisher's documents, on a mirror; "" where it is the issuer's URL
	Algorithms []string      // for the discovery document; nil for those of the settings' keys, RS256 and ES256
	Clusters   []Cluster

	// Private says that nobody fetches the documents, because the keys are at the WorkloadIdentityProvider.
	Private bool

	// WorkloadIdentityProvider is the resource name of a Google provider that is to have the keys, too; "" for none.
	WorkloadIdentityProvider string
}

// Cluster is one enrolled cluster.
type Cluster struct {
	ID                     string
	Generation             int    // raised to re-enroll
	ExporterServiceAccount string // "namespace/name": whose attestations count
	BootstrapKeys          jwks.Set
	SnapshotKeys           jwks.Set // believed without attestation
	AnnouncedKeys          jwks.Set // published and trusted before their first use
	RevokedKeys            []string // key IDs kept out
	Removed                bool
	ExternalKeyIDs         bool // key IDs are an external signer's
}
