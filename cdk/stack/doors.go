package stack

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsapigatewayv2integrations"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambdaeventsources"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsscheduler"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

const webhookPath = "/v1/snapshots"

// doors are how snapshots come in, and what wakes the function.
type doors struct {
	webhookHost        *string // without https://; nil without a webhook
	queue, deadLetters awssqs.Queue
}

func (b *builder) openDoors() {
	switch b.file.Webhook {
	case stackfile.HTTPAPI:
		b.openHTTPAPI()
	case stackfile.FunctionURL:
		url := b.function.AddFunctionUrl(&awslambda.FunctionUrlOptions{AuthType: awslambda.FunctionUrlAuthType_NONE})
		b.webhookHost = awscdk.Fn_Select(new(2.0), awscdk.Fn_Split(new("/"), url.Url(), nil))
	case stackfile.NoWebhook:
	}
	if b.file.Queue {
		b.openQueue()
	}
	b.schedule()
}

// openHTTPAPI needs no authorizer: who may speak is decided by the signatures of what is said, and one that trusted our own issuer would lock out
// the very snapshot that announces a new key.
func (b *builder) openHTTPAPI() {
	api := awsapigatewayv2.NewHttpApi(b.scope, new("Api"), &awsapigatewayv2.HttpApiProps{
		CreateDefaultStage: new(false), Description: new("takes snapshots of clusters' public keys"),
	})
	api.AddStage(new("Stage"), &awsapigatewayv2.HttpStageOptions{
		StageName: new("$default"), AutoDeploy: new(true), Throttle: &awsapigatewayv2.ThrottleSettings{RateLimit: new(5.0), BurstLimit: new(20.0)},
	})
	integration := awsapigatewayv2integrations.NewHttpLambdaIntegration(new("Function"), b.function, nil)
	route := func(method awsapigatewayv2.HttpMethod, path string) {
		api.AddRoutes(&awsapigatewayv2.AddRoutesOptions{Path: new(path), Methods: &[]awsapigatewayv2.HttpMethod{method}, Integration: integration})
	}
	route(awsapigatewayv2.HttpMethod_POST, webhookPath)
	route(awsapigatewayv2.HttpMethod_GET, "/healthz")
	b.webhookHost = awscdk.Fn_Join(new("."), &[]*string{api.ApiId(), new("execute-api"), new(b.file.Region), new(stackfile.URLSuffix(b.file.Region))})
}

// openQueue: two batches at a time are enough, and fewer than two are not allowed. Order needs no care: an older snapshot is superseded.
func (b *builder) openQueue() {
	b.deadLetters = awssqs.NewQueue(b.scope, new("DeadLetters"), &awssqs.QueueProps{
		EnforceSSL: new(true), Encryption: awssqs.QueueEncryption_SQS_MANAGED, RetentionPeriod: awscdk.Duration_Days(new(14.0)),
	})
	b.queue = awssqs.NewQueue(b.scope, new("Queue"), &awssqs.QueueProps{
		EnforceSSL: new(true), Encryption: awssqs.QueueEncryption_SQS_MANAGED, RetentionPeriod: awscdk.Duration_Days(new(4.0)),
		VisibilityTimeout: awscdk.Duration_Seconds(new(float64(6 * timeout))),
		DeadLetterQueue:   &awssqs.DeadLetterQueue{Queue: b.deadLetters, MaxReceiveCount: new(5.0)},
	})
	b.function.AddEventSource(awslambdaeventsources.NewSqsEventSource(b.queue, &awslambdaeventsources.SqsEventSourceProps{
		BatchSize: new(10.0), MaxConcurrency: new(2.0), ReportBatchItemFailures: new(true),
	}))
}

// schedule reconciles every five minutes, by a role that can do nothing else.
func (b *builder) schedule() {
	role := awsiam.NewRole(b.scope, new("ScheduleRole"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(new("scheduler.amazonaws.com"), &awsiam.ServicePrincipalOpts{
			Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": b.file.Account}},
		}),
		InlinePolicies: &map[string]awsiam.PolicyDocument{"invoke": awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{
			Statements: &[]awsiam.PolicyStatement{allow(jsii.Strings("lambda:InvokeFunction"), &[]*string{b.function.FunctionArn()})},
		})},
	})
	awsscheduler.NewCfnSchedule(b.scope, new("Schedule"), &awsscheduler.CfnScheduleProps{
		Description: new("reconcile: retention, repairs, a look from outside"), ScheduleExpression: new("rate(5 minutes)"),
		FlexibleTimeWindow: &awsscheduler.CfnSchedule_FlexibleTimeWindowProperty{Mode: new("OFF")},
		Target: &awsscheduler.CfnSchedule_TargetProperty{
			Arn: b.function.FunctionArn(), RoleArn: role.RoleArn(), Input: new(`{"reconcile":true}`),
			RetryPolicy: &awsscheduler.CfnSchedule_RetryPolicyProperty{MaximumRetryAttempts: new(2.0), MaximumEventAgeInSeconds: new(240.0)},
		},
	})
}
