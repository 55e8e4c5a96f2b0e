//go:build e2e_aws

package aws_test

import (
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

// story is what TestFromNothingToAPod has so far.
type story struct {
	*deployment
	cluster        *kube.Cluster
	first, second  *kube.Key
	outputs        map[string]string
	role, function string
	old            string // a token by the first key
	exporter       *exporter
}

// From nothing to a pod that reads its object, and through a rotation of the key.
func TestFromNothingToAPod(t *testing.T) {
	c := newCloud(t)
	c.fill()
	s := &story{deployment: c.newDeployment(), first: kube.NewKey(t, kube.RSA2048), second: kube.NewKey(t, kube.P256)}
	s.cluster = newCluster(t, kube.Keys{Sign: s.first})
	s.deploys()
	s.reports()
	s.staysAsItIs()
	s.rotates()
	c.closed(s.outputs)
	c.forget(issuer)
	c.accepted(s.role, s.token("payments", audience))
	c.refused("a key that is retired and gone", s.role, s.old)
	s.exporter.Stop()
}

func (s *story) token(name, audience string) string {
	s.Helper()
	return s.cluster.Token(s.T, 0, "production", name, []string{audience}, 3600)
}

// deploys: the enrolled keys are good before any snapshot.
func (s *story) deploys() {
	s.Helper()
	s.settings("retention: 3s", roles)
	s.write("clusters/"+clusterID+".yaml", enrolled(s.T, s.cluster))
	s.outputs = s.deploy()
	s.role, s.function = s.roleARN(s.outputs), s.outputs["FunctionName"]
	s.old = s.token("payments", audience)
	s.accepted(s.role, s.old)
	s.refused("another service account", s.role, s.token("other", audience))
	s.refused("another audience", s.role, s.token("payments", "vault"))
}

// reports: the exporter on the stack's outputs, first with another cluster's, then by webhook, then by queue, logged in with its own token.
func (s *story) reports() {
	s.Helper()
	output := s.outputs["Exporter"+strings.ReplaceAll(clusterID, "-", "")]
	s.exporter = s.runExporter(s.cluster, strings.ReplaceAll(output, clusterID, secondID), "webhook")
	s.eventually("the exporter says whose issuer differs", func() error { return s.exporter.says(secondIssuer, "no API server has the issuer") })
	for _, destination := range []string{"webhook", "sqs"} {
		s.exporter.Stop()
		sofar := len(s.account.Log(s.function))
		s.exporter = s.runExporter(s.cluster, output, destination)
		s.logged(s.function, sofar, "snapshot.accepted", "attested")
	}
}

// staysAsItIs: a deploy that would leave the cluster's keys to nobody, or replace its identity provider, is refused and rolled back.
func (s *story) staysAsItIs() {
	s.Helper()
	file := "clusters/" + clusterID + ".yaml"
	enrollment, settings := s.read(file), s.read("stack.yaml")
	s.remove(clusterID)
	s.enroll(secondID, 1, s.second)
	s.deployRefused("a cluster that has reported is missing", clusterID, "removed: true", "UPDATE_ROLLBACK_COMPLET")
	s.remove(secondID)
	s.write(file, enrollment)
	s.write("stack.yaml", strings.Replace(settings, "prefix: oidc", "prefix: other", 1))
	s.deployRefused("the issuer of a cluster that has reported would change: "+clusterID, "deploy a second stack under another name", "UPDATE_ROLLBACK_COMPLET")
	s.write("stack.yaml", settings)
	s.wantProviders(issuer)
	s.accepted(s.role, s.token("payments", audience))
	s.logged(s.function, len(s.account.Log(s.function)), "snapshot.accepted") // the next heartbeat
}

// rotates the key of the API server until the first is gone.
func (s *story) rotates() {
	s.Helper()
	a, b := s.first, s.second
	server := s.cluster.Servers[0]
	server.Restart(s.T, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: a, Verify: []*kube.Key{a, b}}})
	s.logged(s.function, 0, "key.added", b.ID())
	server.Restart(s.T, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: b, Verify: []*kube.Key{a, b}}})
	s.accepted(s.role, s.token("payments", audience))
	s.accepted(s.role, s.old)
	if err := s.exporter.kubelet.Renew(s.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		s.Fatal(err)
	}
	server.Restart(s.T, kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: b}})
	s.logged(s.function, 0, "key.retiring", a.ID())
	s.eventually("the old key goes", func() error {
		if err := s.account.Tick(s.Context()); err != nil {
			return err
		}
		return hasLine(s.account.Log(s.function), []string{"key.gone"})
	})
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
