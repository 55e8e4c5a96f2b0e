//go:build e2e_aws

package aws_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	standin "github.com/kube-iam-assume/kube-iam-assume/test/aws"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

// managed are policies that the account has besides the stack's.
var managed = map[string]string{"arn:aws:iam::" + standin.AccountID + ":policy/payments": `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::` + data + `/payments/*"}]}`}

const roles = `
roles:
- serviceAccount: production/payments
  clusters: all
  managedPolicies: ["arn:aws:iam::` + standin.AccountID + `:policy/payments"]
`

// From nothing to a pod that reads its object, and through a rotation of the key.
func TestFromNothingToAPod(t *testing.T) {
	c := newCloud(t)
	c.fill()
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	cluster := newCluster(t, kube.Keys{Sign: a})
	d := c.newDeployment()
	d.settings("retention: 3s", roles)
	d.write("clusters/"+clusterID+".yaml", enrolled(t, cluster))
	outputs := d.deploy()
	role, function := d.role(outputs), outputs["FunctionName"]
	token := func(name, audience string) string {
		return cluster.Token(t, 0, "production", name, []string{audience}, 3600)
	}

	// Before any snapshot: the enrolled keys.
	old := token("payments", audience)
	c.accepted(role, old)
	c.refused("another service account", role, token("other", audience))
	c.refused("another audience", role, token("payments", "vault"))

	// The exporter on the stack's outputs: first by webhook, then by queue, logged in with its own token.
	output := outputs["Exporter"+strings.ReplaceAll(clusterID, "-", "")]
	exporter := c.exporter(cluster, output, "webhook")
	c.logged(function, 0, "snapshot.accepted", "attested")
	exporter.Stop()
	sofar := len(c.account.Log(function))
	exporter = c.exporter(cluster, output, "sqs")
	c.logged(function, sofar, "snapshot.accepted", "attested")

	// A deploy that would leave its keys to nobody is refused and rolled back.
	file := "clusters/" + clusterID + ".yaml"
	enrollment := d.read(file)
	d.remove(clusterID)
	d.enroll("prod-us1", 1, b)
	d.refused("a cluster that has reported is missing", clusterID, "removed: true", "UPDATE_ROLLBACK_COMPLET")
	d.remove("prod-us1")
	d.write(file, enrollment)
	c.accepted(role, token("payments", audience))
	sofar = len(c.account.Log(function))
	c.logged(function, sofar, "snapshot.accepted") // the next heartbeat
	if printed, err := d.cdk("deploy", "--require-approval=never"); err != nil || !strings.Contains(printed, "(no changes)") {
		t.Errorf("%v\n%s", err, printed)
	}

	server := cluster.Servers[0]
	server.Restart(t, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: a, Verify: []*kube.Key{a, b}}})
	c.logged(function, 0, "key.added", b.ID())
	server.Restart(t, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: b, Verify: []*kube.Key{a, b}}})
	c.accepted(role, token("payments", audience))
	c.accepted(role, old)
	if err := exporter.kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		t.Fatal(err)
	}
	server.Restart(t, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: b}})
	c.logged(function, 0, "key.retiring", a.ID())
	c.eventually("the old key goes", func() error {
		if err := c.account.Tick(t.Context()); err != nil {
			return err
		}
		if log := c.account.Log(function); !strings.Contains(log, "key.gone") {
			return fmt.Errorf("the log ends:\n%s", log[max(0, len(log)-1000):])
		}
		return nil
	})
	c.closed(outputs)
	c.forget(issuer)
	c.accepted(role, token("payments", audience))
	c.refused("a key that is retired and gone", role, old)
	exporter.Stop()
}

// closed wants everything that nobody needs to be refused.
func (c *cloud) closed(outputs map[string]string) {
	c.Helper()
	root := s3.NewFromConfig(c.Config()) // with connections of its own: it goes through the gate
	documents, private := outputs["DocumentsBucket"], outputs["PrivateBucket"]
	for _, bucket := range []string{documents, private} {
		_, err := root.PutObject(c.Context(), &s3.PutObjectInput{
			Bucket: &bucket, Key: new(clusterID + "/openid/v1/jwks"), Body: strings.NewReader("{}"), IfNoneMatch: new("*"),
		})
		c.refusedWith(err, "AccessDenied") // even to root
		stranger := s3.NewFromConfig(c.ConfigOf(aws.Credentials{}))
		_, err = stranger.ListObjectsV2(c.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
		c.refusedWith(err, "AccessDenied")
	}
}
