//go:build e2e_aws

package aws_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation/provision"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	secondID     = "prod-us1"
	secondIssuer = "https://oidc-" + aws.AccountID + "-" + region + "-an.s3." + domain + "/" + secondID
)

// What goes wrong at a deploy is said by the command line, and what was there before stays.
func TestDeploysThatFail(t *testing.T) {
	c := newCloud(t)
	d := c.newDeployment()
	key, other := kube.NewKey(t, kube.P256), kube.NewKey(t, kube.P256)
	d.settings()
	d.enroll(clusterID, 2, key)
	d.elsewhere()
	d.firstDeploy()
	before := c.published(issuer)
	if !strings.Contains(before, key.ID()) {
		t.Fatalf("published: %s", before)
	}
	unchanged := func() {
		t.Helper()
		if after := c.published(issuer); after != before {
			t.Errorf("published: %s, was %s", after, before)
		}
	}

	// Another cluster, and a role with a policy that does not exist: the documents were published already, and stay.
	d.enroll(secondID, 1, other)
	d.settings("roles: [{serviceAccount: production/payments, clusters: all, managedPolicies: ['arn:aws:iam::" + aws.AccountID + ":policy/nobody-made-it']}]")
	d.deployRefused("policy/nobody-made-it does not exist or is not attachable", "UPDATE_ROLLBACK_COMPLET")
	unchanged()
	c.wantProviders(issuer)

	// The same with a policy that does, and an older release of the first cluster's file.
	d.enroll(clusterID, 1, other)
	d.settings(roles)
	outputs := d.deploy()
	c.logged(outputs["FunctionName"], 0, "generation.old", clusterID)
	unchanged()
	c.wantProviders(issuer, secondIssuer)
	if got := c.published(secondIssuer); !strings.Contains(got, other.ID()) {
		t.Errorf("published: %s", got)
	}
	d.destroyed()
	c.wantProviders()
	for _, object := range []struct{ bucket, key string }{
		{outputs["DocumentsBucket"], clusterID + "/openid/v1/jwks"}, {outputs["DocumentsBucket"], secondID + "/openid/v1/jwks"}, {outputs["PrivateBucket"], ""},
	} {
		c.kept(object.bucket, object.key)
	}
}

// elsewhere tries another account than the credentials', and a region in which nobody ran cdk bootstrap.
func (d *deployment) elsewhere() {
	d.Helper()
	settings := d.read("stack.yaml")
	d.write("stack.yaml", strings.Replace(settings, aws.AccountID, "111122223333", 1))
	d.deployRefused("Could not assume role in target account using current credentials (which are for account "+aws.AccountID+")", "role/cdk-hnb659fds-deploy-role-111122223333")
	d.write("stack.yaml", strings.Replace(settings, "region: "+region, "region: eu-west-1", 1))
	d.deployRefused("eu-west-1", "Has the environment been bootstrapped? Please run 'cdk bootstrap'")
	d.write("stack.yaml", settings)
}

// firstDeploy succeeds when nothing is in its way any more, and changes nothing when it is repeated.
func (d *deployment) firstDeploy() {
	d.Helper()
	d.account.BlockPublicAccess(provision.BlockPublicAccess{Policies: true})
	d.deployRefused("s3:PutBucketPolicy", "BlockPublicPolicy", "turn these two off for the account, or choose hosting: {cloudFront: ...}", "ROLLBACK_COMPLETE")
	d.wantProviders()
	d.clear()
	d.account.BlockPublicAccess(provision.BlockPublicAccess{})

	d.account.ServiceControl(`{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"}]}`)
	d.againRefused("PutObject", "AccessDenied", "the role needs s3:GetObject and s3:PutObject", "a service control policy of the organization", "ROLLBACK_COMPLETE")
	d.wantProviders()
	d.clear()
	d.account.ServiceControl("")

	for _, want := range []string{"Outputs:", "(no changes)"} {
		printed, err := d.again("deploy", neverAsk)
		if err != nil || !strings.Contains(printed, want) {
			d.Fatalf("%v, want %q\n%s", err, want, printed)
		}
	}
}

// destroyed takes the stack away: not before its protection is.
func (d *deployment) destroyed() {
	d.Helper()
	printed, err := d.again("destroy", "--force")
	d.said(printed, err, "cannot be deleted while TerminationProtection is enabled")
	if err := d.double.Unprotect("e2e"); err != nil {
		d.Fatal(err)
	}
	if printed, err = d.again("destroy", "--force"); err != nil {
		d.Errorf("%v\n%s", err, printed)
	}
}

// published are the keys at an issuer, as a stranger gets them; empty if he gets none.
func (c *cloud) published(issuer string) string {
	c.Helper()
	request, err := http.NewRequestWithContext(c.Context(), http.MethodGet, issuer+"/openid/v1/jwks", http.NoBody)
	if err != nil {
		c.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		c.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// wantProviders wants identity providers of these issuers, and no others.
func (c *cloud) wantProviders(issuers ...string) {
	c.Helper()
	list, err := c.iam.ListOpenIDConnectProviders(c.Context(), &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		c.Fatal(err)
	}
	var got []string
	for _, provider := range list.OpenIDConnectProviderList {
		_, host, _ := strings.Cut(*provider.Arn, ":oidc-provider/")
		if !strings.HasPrefix(host, "service-principals.") { // the stand-in's own
			got = append(got, "https://"+host)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, issuers) {
		c.Errorf("there are identity providers for %q, want %q", got, issuers)
	}
}

// kept wants an object, or any, to be in a bucket.
func (c *cloud) kept(bucket, prefix string) {
	c.Helper()
	list, err := c.s3.ListObjectsV2(c.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	if err != nil || len(list.Contents) == 0 {
		c.Errorf("nothing is left in bucket %s at %q: %v", bucket, prefix, err)
	}
}

// clear removes what a failed creation leaves, as a person does: the stack's protection, and the buckets.
func (c *cloud) clear() {
	c.Helper()
	if err := c.double.Unprotect("e2e"); err != nil {
		c.Fatal(err)
	}
	buckets, err := c.s3.ListBuckets(c.Context(), &s3.ListBucketsInput{})
	if err != nil {
		c.Fatal(err)
	}
	for _, bucket := range buckets.Buckets {
		c.empty(bucket)
		if _, err := c.s3.DeleteBucket(c.Context(), &s3.DeleteBucketInput{Bucket: bucket.Name}); err != nil {
			c.Fatal(err)
		}
	}
}

func (c *cloud) empty(bucket types.Bucket) {
	c.Helper()
	all, err := c.s3.ListObjectVersions(c.Context(), &s3.ListObjectVersionsInput{Bucket: bucket.Name})
	if err != nil {
		c.Fatal(err)
	}
	for _, v := range all.Versions {
		if _, err := c.s3.DeleteObject(c.Context(), &s3.DeleteObjectInput{Bucket: bucket.Name, Key: v.Key, VersionId: v.VersionId}); err != nil {
			c.Fatal(err)
		}
	}
}
