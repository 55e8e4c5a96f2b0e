package internet

import (
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

// Cluster starts a cluster of one API server that signs with a key, and serves its issuer's documents here.
func (n *Internet) Cluster(issuer string, key *standin.Key) *standin.Cluster {
	n.t.Helper()
	cluster, err := standin.Start(standin.Options{Issuer: issuer, Sign: key})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cluster.Close)
	n.Issuer(issuer, func() []byte { return jwks.Set{key.Key}.Encode() })
	return cluster
}
