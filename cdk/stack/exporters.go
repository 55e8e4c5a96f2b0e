package stack

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// removal is the order that leaves no workload without credentials, and no name for somebody else to take.
const removal = "take AWS_ROLE_ARN from the workloads; point the API servers back at their own issuer and wait for the longest token; uninstall the exporters; " +
	"turn termination protection off and run cdk destroy; delete both buckets when nothing trusts the issuers any more. See docs/aws.md#taking-it-away"

// tellOperators outputs what is asked for when something is wrong.
func (b *builder) tellOperators() {
	b.output(b.scope, "FunctionName", "the operator's door: aws lambda invoke", b.function.FunctionName())
	b.output(b.scope, "Publisher", "how kube-iam-assume publishers reaches it", awscdk.Stack_Of(b.scope).ToJsonString(map[string]any{
		"name": b.file.PublisherName(), "lambda": map[string]any{"function": b.function.FunctionArn()},
	}, nil))
	b.output(b.scope, "LogGroupName", "where the function says what it did", b.logs.LogGroupName())
	b.output(b.scope, "DocumentsBucket", "what the world reads; stays when the stack goes", b.documents.BucketName())
	b.output(b.scope, "PrivateBucket", "the state and the log; stays when the stack goes", b.private.BucketName())
	b.output(b.scope, "Removal", "how to take it away, in this order", new(removal))
}

// tellExporters outputs what each cluster's exporter needs to be told, as the values of its chart, and makes its role for the queue.
func (b *builder) tellExporters() {
	for _, c := range b.file.Clusters {
		destination := map[string]any{"publisher": b.file.PublisherName()}
		if b.webhookHost != nil {
			destination["webhook"] = map[string]any{"url": awscdk.Fn_Join(new(""), &[]*string{new("https://"), b.webhookHost, new(webhookPath)})}
		}
		if b.queue != nil {
			destination["sqs"] = map[string]any{"url": b.queue.QueueUrl(), "region": b.file.Region, "roleARN": b.exporterRole(c)}
		}
		b.output(b.scope, "Exporter-"+c.ID, "the exporter's values in cluster "+c.ID, awscdk.Stack_Of(b.scope).ToJsonString(map[string]any{
			"cluster": c.ID, "issuer": c.Issuer, "serviceAccount": c.ExporterServiceAccount, "destinations": []any{destination},
		}, nil))
	}
}

// exporterRole may send to the queue, and nothing else.
func (b *builder) exporterRole(c stackfile.Cluster) *string {
	namespace, name, _ := strings.Cut(c.ExporterServiceAccount, "/")
	role := awsiam.NewCfnRole(b.scope, new("ExporterRole-"+c.ID), &awsiam.CfnRoleProps{
		Description:              new("the exporter of cluster " + c.ID),
		AssumeRolePolicyDocument: b.file.Trust([]stackfile.Cluster{c}, namespace, name),
		Policies: []any{&awsiam.CfnRole_PolicyProperty{PolicyName: new("send"), PolicyDocument: map[string]any{
			"Version":   "2012-10-17",
			"Statement": []any{map[string]any{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": b.queue.QueueArn()}},
		}}},
	})
	role.Node().AddDependency(b.providers[c.ID])
	return role.AttrArn()
}
