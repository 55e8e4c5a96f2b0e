// Package stack is the AWS side as code: one stack that publishes the keys of the enrolled clusters and lets their workloads in.
//
// Its order is what makes one deploy enough: buckets, bucket policies, the function with its rights, the custom resource that publishes the enrolled
// keys and waits until the world can read them, identity providers, roles.
package stack

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// NewApp is a CDK app as this stack is tested with.
func NewApp() awscdk.App {
	return awscdk.NewApp(&awscdk.AppProps{PostCliContext: &featureFlags, AnalyticsReporting: new(false)})
}

// New adds a stack with nothing but a publisher to a scope. The package is that of PublisherProps.
func New(scope constructs.Construct, file stackfile.Stack, pack string) awscdk.Stack {
	s := awscdk.NewStack(scope, new(file.Name), &awscdk.StackProps{
		Env:                   &awscdk.Environment{Account: new(file.Account), Region: new(file.Region)},
		Description:           new("kube-iam-assume: the public keys of Kubernetes clusters, and the roles of their workloads"),
		TerminationProtection: new(!file.Hosting.Existing),
	})
	build(s, PublisherProps{File: file, Package: pack})
	return s
}

// PublisherProps are what a publisher is made from.
type PublisherProps struct {
	// File is what stack.yaml says. The construct must be in a stack of the same account and region.
	File stackfile.Stack

	// Package is a directory with the function's bootstrap, publisher.yaml and clusters/, as Build makes it. It is not looked at where the documents
	// are published elsewhere.
	Package string
}

// Publisher is the whole AWS side, for a stack of one's own. What the settings leave out is nil; where the documents are published
// elsewhere, only Providers and Roles are there.
type Publisher struct {
	constructs.Construct

	Documents, Private awss3.Bucket
	Function           awslambda.Function
	Queue, DeadLetters awssqs.Queue
	Topic              awssns.ITopic                     // of the alarms
	Providers          map[string]awsiam.CfnOIDCProvider // by cluster ID
	Roles              map[string]awsiam.CfnRole         // by namespace/name, and namespace/name/cluster where there is one per cluster
}

// NewPublisher adds a publisher to a stack. Mistakes are annotated as errors, which stop the synthesis.
func NewPublisher(scope constructs.Construct, id *string, props *PublisherProps) *Publisher {
	return build(constructs.NewConstruct(scope, id), *props)
}

func build(scope constructs.Construct, props PublisherProps) *Publisher {
	b := builder{scope: scope, file: props.File}
	b.checkPlace()
	if b.file.Hosting.Existing {
		b.federate(nil)
	} else {
		b.makeStores()
		b.makeFunction(props.Package)
		b.openDoors()
		b.limitStores()
		b.federate(b.publishFirst())
		b.watch()
		b.tellExporters()
		b.tellOperators()
	}
	return &Publisher{
		Construct: scope, Documents: b.documents, Private: b.private, Function: b.function, Queue: b.queue, DeadLetters: b.deadLetters,
		Topic: b.topic, Providers: b.providers, Roles: b.workloads,
	}
}

// builder is a publisher in the making.
type builder struct {
	scope constructs.Construct
	file  stackfile.Stack
	stores
	publisher
	doors
	federation
	topic awssns.ITopic
}

// checkPlace: issuers and trust policies name the account and the region, long before the stack is deployed anywhere.
func (b *builder) checkPlace() {
	s := awscdk.Stack_Of(b.scope)
	if *s.Account() != b.file.Account || *s.Region() != b.file.Region {
		awscdk.Annotations_Of(b.scope).AddError(new(fmt.Sprintf(
			"the settings are for account %s in %s, and the stack %s is not: give it an Env with both", b.file.Account, b.file.Region, *s.StackName(),
		)))
	}
}
