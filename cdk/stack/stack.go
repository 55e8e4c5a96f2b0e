// Package stack is the AWS side as code: one stack that publishes the keys of the enrolled clusters and lets their workloads in.
//
// Its order is what makes one deploy enough: buckets, bucket policies, the function with its rights, the custom resource that publishes the enrolled
// keys and waits until the world can read them, identity providers, roles.
package stack

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// NewApp is a CDK app as this stack is tested with.
func NewApp() awscdk.App {
	return awscdk.NewApp(&awscdk.AppProps{PostCliContext: &featureFlags, AnalyticsReporting: new(false)})
}

// New adds the stack to a scope. The package is a directory with the function's bootstrap, publisher.yaml and clusters/ (see Build);
// it is not looked at where the documents are published elsewhere.
func New(scope constructs.Construct, file stackfile.Stack, pack string) awscdk.Stack {
	s := awscdk.NewStack(scope, new(file.Name), &awscdk.StackProps{
		Env:                   &awscdk.Environment{Account: new(file.Account), Region: new(file.Region)},
		Description:           new("kube-iam-assume: the public keys of Kubernetes clusters, and the roles of their workloads"),
		TerminationProtection: new(!file.Hosting.Existing),
	})
	Add(s, file, pack)
	return s
}

// Add adds everything to a stack of one's own, in the stack file's account and region.
func Add(s awscdk.Stack, file stackfile.Stack, pack string) {
	b := builder{Stack: s, file: file}
	if file.Hosting.Existing {
		b.federate(nil)
		return
	}
	b.makeStores()
	b.makeFunction(pack)
	b.openDoors()
	b.limitStores()
	b.federate(b.publishFirst())
	b.watch()
	b.tellExporters()
}

// builder is a stack in the making.
type builder struct {
	awscdk.Stack

	file stackfile.Stack
	stores
	publisher
	doors
	federation
}
