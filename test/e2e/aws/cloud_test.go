//go:build e2e_aws

package aws_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/provision"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/stage"
)

const (
	region = "eu-central-1"
	domain = region + ".amazonaws.com"
)

func TestMain(m *testing.M) { aws.Main(m) }

// cloud is AWS with nothing in it.
type cloud struct {
	*testing.T
	*aws.Cloud

	account *provision.Account
	double  *cloudformation.Double
	s3      *awss3.Client // root's
	iam     *iam.Client   // root's
	binary  string        // the exporter
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	s := stage.Start(t, region, managed)
	return &cloud{T: t, Cloud: s.Cloud, account: s.Account, double: s.Double, s3: s.S3, iam: s.IAM}
}

// forget makes STS forget the keys that it has fetched from an issuer, as it does by itself after a time: its cache is by issuer and thumbprints.
func (c *cloud) forget(issuer string) {
	c.Helper()
	arn := "arn:aws:iam::" + aws.AccountID + ":oidc-provider/" + strings.TrimPrefix(issuer, "https://")
	now, err := c.iam.GetOpenIDConnectProvider(c.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
	if err != nil {
		c.Fatal(err)
	}
	more := append(now.ThumbprintList, strings.Repeat("0", 40))
	if _, err := c.iam.UpdateOpenIDConnectProviderThumbprint(c.Context(), &iam.UpdateOpenIDConnectProviderThumbprintInput{
		OpenIDConnectProviderArn: &arn, ThumbprintList: more,
	}); err != nil {
		c.Fatal(err)
	}
}
