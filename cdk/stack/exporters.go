package stack

import (
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// tellExporters outputs what each cluster's exporter needs to be told, as the values of its chart, and makes its role for the queue.
func (b *builder) tellExporters() {
	b.output(b.Stack, "FunctionName", "the operator's door: aws lambda invoke", b.function.FunctionName())
	b.output(b.Stack, "LogGroupName", "where the function says what it did", b.logs.LogGroupName())
	for _, c := range b.file.Clusters {
		destination := map[string]any{"publisher": b.file.PublisherName()}
		if b.webhookHost != nil {
			destination["webhook"] = map[string]any{"url": awscdk.Fn_Join(new(""), &[]*string{new("https://"), b.webhookHost, new(webhookPath)})}
		}
		if b.queue != nil {
			destination["sqs"] = map[string]any{"url": b.queue.QueueUrl(), "region": b.file.Region, "roleARN": b.exporterRole(c)}
		}
		b.output(b.Stack, "Exporter-"+c.ID, "the exporter's values in cluster "+c.ID, b.ToJsonString(map[string]any{
			"cluster": c.ID, "issuer": c.Issuer, "destinations": []any{destination},
		}, nil))
	}
}

// exporterRole may send to the queue, and nothing else.
func (b *builder) exporterRole(c stackfile.Cluster) *string {
	namespace, name, _ := strings.Cut(c.ExporterServiceAccount, "/")
	role := awsiam.NewCfnRole(b.Stack, new("ExporterRole-"+c.ID), &awsiam.CfnRoleProps{
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
