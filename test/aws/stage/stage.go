// Package stage sets up an AWS account in which the real `cdk deploy` makes the real stack.
//
// It puts together what other packages play: S3, IAM and STS (test/aws), CloudFormation (test/aws/cloudformation) and the resources of a
// stack (test/aws/cloudformation/provision).
package stage

import (
	"net/http"
	"os"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/provision"
)

// A Stage is an account with nothing in it, where somebody ran `cdk bootstrap`.
type Stage struct {
	*aws.Cloud

	Account *provision.Account
	Double  *cloudformation.Double // CloudFormation
	S3      *s3.Client             // root's
	IAM     *iam.Client            // root's
}

// Start sets up a stage in a region, in a package whose TestMain calls aws.Main. The account has managed policies besides the stack's: their
// documents by ARN. It ends with the test.
func Start(t testing.TB, region string, managed map[string]string) *Stage {
	t.Helper()
	s := &Stage{Cloud: aws.StartCloud(t, region)}
	s.S3, s.IAM = s3.NewFromConfig(s.Config()), iam.NewFromConfig(s.Config())
	var err error
	s.Account, err = provision.New(t.Context(), provision.Options{
		ID: aws.AccountID, Region: region, IAM: s.IAM, S3: s.S3, STS: sts.NewFromConfig(s.ConfigOf(sdk.Credentials{})),
		Gateway: "s3." + region + ".amazonaws.com:443", Roots: os.Getenv("SSL_CERT_FILE"), Folder: t.TempDir(), Managed: managed,
		Asset: func(bucket, key string) ([]byte, bool) { return s.Double.Asset(bucket, key) },
		Serve: func(host string, handler http.Handler) { s.Serve(t, handler, host) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Account.Stop)
	s.Double, err = cloudformation.Start(t.Context(), cloudformation.Options{Account: aws.AccountID, Region: region, Kinds: s.Account.Kinds()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Double.Stop)
	return s
}
