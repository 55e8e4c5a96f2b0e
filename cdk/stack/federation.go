package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// federation is who trusts the issuers.
type federation struct {
	providers map[string]awsiam.CfnOIDCProvider // by cluster ID
	roles     constructs.Construct              // the scope of workloads' roles, in which IDs that differ only in hyphens differ
	workloads map[string]awsiam.CfnRole         // those roles, by service account
}

// publishFirst is the deploy's own step: the function publishes the enrolled keys, and answers when the world can read them.
func (b *builder) publishFirst() constructs.IConstruct {
	digest := sha256.New()
	pack := b.file.Package()
	for _, name := range slices.Sorted(maps.Keys(pack)) {
		digest.Write([]byte(name + "\n"))
		digest.Write(pack[name])
	}
	var issuers []string
	for _, c := range b.file.Clusters {
		issuers = append(issuers, c.Issuer)
	}
	first := awscdk.NewCustomResource(b.scope, new("FirstPublication"), &awscdk.CustomResourceProps{
		ServiceToken: b.function.FunctionArn(), ResourceType: new("Custom::KubeIamAssumeDocuments"),
		ServiceTimeout: awscdk.Duration_Seconds(new(2.0 * timeout)),
		Properties:     &map[string]any{"Settings": hex.EncodeToString(digest.Sum(nil)), "Issuers": issuers},
	})
	for _, needed := range append(b.readable, b.private.Policy(), b.documents.Policy()) {
		first.Node().AddDependency(needed)
	}
	return first
}

// federate makes an identity provider for every cluster, after the documents are readable, and the roles that trust them.
func (b *builder) federate(published constructs.IConstruct) {
	b.providers, b.workloads = map[string]awsiam.CfnOIDCProvider{}, map[string]awsiam.CfnRole{}
	b.roles = constructs.NewConstruct(b.scope, new("Roles"))
	scope := constructs.NewConstruct(b.scope, new("Providers"))
	for _, c := range b.file.Clusters {
		provider := awsiam.NewCfnOIDCProvider(scope, new(c.ID), &awsiam.CfnOIDCProviderProps{
			Url: new(c.Issuer), ClientIdList: jsii.Strings(stackfile.Audience),
		})
		if published != nil {
			provider.Node().AddDependency(published)
		}
		b.providers[c.ID] = provider
		b.output(b.scope, "Issuer-"+c.ID, "the issuer of "+c.ID+", for --service-account-issuer", new(c.Issuer))
	}
	for _, role := range b.file.Roles {
		if !role.PerCluster {
			b.workloadRole(role.Namespace+":"+role.Name, role, role.Clusters)
			continue
		}
		for _, c := range role.Clusters {
			b.workloadRole(role.Namespace+":"+role.Name+":"+c.ID, role, []stackfile.Cluster{c})
		}
	}
}

func (b *builder) workloadRole(id string, role stackfile.Role, clusters []stackfile.Cluster) {
	props := &awsiam.CfnRoleProps{
		Description:              new("service account " + role.Namespace + "/" + role.Name),
		AssumeRolePolicyDocument: b.file.Trust(clusters, role.Namespace, role.Name),
	}
	if len(role.InlinePolicies) > 0 {
		var policies []any
		for _, p := range role.InlinePolicies {
			policies = append(policies, &awsiam.CfnRole_PolicyProperty{PolicyName: new(p.Name), PolicyDocument: p.Document})
		}
		props.Policies = policies
	}
	if len(role.ManagedPolicies) > 0 {
		var arns []any
		for _, arn := range role.ManagedPolicies {
			arns = append(arns, arn)
		}
		props.ManagedPolicyArns = &arns
	}
	made := awsiam.NewCfnRole(b.roles, new(id), props)
	b.workloads[strings.ReplaceAll(id, ":", "/")] = made
	for _, c := range clusters {
		made.Node().AddDependency(b.providers[c.ID])
	}
	b.output(b.roles, "Arn:"+id, "AWS_ROLE_ARN of "+role.Namespace+"/"+role.Name+" in "+ids(clusters), made.AttrArn())
}

func ids(clusters []stackfile.Cluster) string {
	var all []string
	for _, c := range clusters {
		all = append(all, c.ID)
	}
	return strings.Join(all, ", ")
}

func (b *builder) output(scope constructs.Construct, id, description string, value *string) {
	awscdk.NewCfnOutput(scope, new(id), &awscdk.CfnOutputProps{Description: new(description), Value: value})
}
