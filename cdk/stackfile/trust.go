package stackfile

import (
	"encoding/json"
	"fmt"
	"strings"
)

// maxTrustPolicy is the default quota of characters, white space not counted, of a role's trust policy (quota L-C07B4B0D of IAM).
const maxTrustPolicy = 2048

// partition is the one of ARNs in a region.
func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// providerARN is the identity provider of a cluster's issuer in the stack's account.
func (s Stack) providerARN(c Cluster) string {
	return fmt.Sprintf("arn:%s:iam::%s:oidc-provider/%s", partition(s.Region), s.Account, c.host())
}

// Trust is the policy that lets one service account of the clusters assume a role: audience and subject, both exactly.
func (s Stack) Trust(clusters []Cluster, namespace, name string) map[string]any {
	var statements []any
	for _, c := range clusters {
		statements = append(statements, map[string]any{
			"Effect":    "Allow",
			"Action":    "sts:AssumeRoleWithWebIdentity",
			"Principal": map[string]any{"Federated": s.providerARN(c)},
			"Condition": map[string]any{"StringEquals": map[string]any{
				c.host() + ":aud": Audience,
				c.host() + ":sub": "system:serviceaccount:" + namespace + ":" + name,
			}},
		})
	}
	return map[string]any{"Version": "2012-10-17", "Statement": statements}
}

// checkTrust measures the trust policies as IAM does.
func (role Role) checkTrust(s Stack) error {
	sets := [][]Cluster{role.Clusters}
	if role.PerCluster {
		sets = nil
		for _, c := range role.Clusters {
			sets = append(sets, []Cluster{c})
		}
	}
	for _, clusters := range sets {
		text, err := json.Marshal(s.Trust(clusters, role.Namespace, role.Name))
		if err != nil {
			return err
		}
		if len(text) > maxTrustPolicy {
			return fmt.Errorf("the trust policy of %s/%s for %d clusters has %d characters, the default quota of IAM (L-C07B4B0D) is %d: set perCluster: true for a role in each cluster",
				role.Namespace, role.Name, len(clusters), len(text), maxTrustPolicy)
		}
	}
	return nil
}
