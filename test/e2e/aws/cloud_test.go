//go:build e2e_aws

package aws_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/provision"
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
	c := &cloud{T: t, Cloud: aws.StartCloud(t, region)}
	c.s3, c.iam = awss3.NewFromConfig(c.Config()), iam.NewFromConfig(c.Config())
	var err error
	c.account, err = provision.New(t.Context(), provision.Options{
		ID: aws.AccountID, Region: region, IAM: c.iam, S3: c.s3, STS: sts.NewFromConfig(c.ConfigOf(sdk.Credentials{})),
		Gateway: "s3." + domain + ":443", Roots: os.Getenv("SSL_CERT_FILE"), Folder: t.TempDir(), Managed: managed,
		Asset: func(bucket, key string) ([]byte, bool) { return c.double.Asset(bucket, key) },
		Serve: func(host string, handler http.Handler) { c.Serve(t, handler, host) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.account.Stop)
	c.double, err = cloudformation.Start(t.Context(), cloudformation.Options{Account: aws.AccountID, Region: region, Kinds: c.account.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.double.Stop)
	return c
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
