package stack

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/jsii-runtime-go"
)

// timeout is the function's, in seconds. A deploy waits that long for the documents to be readable.
const timeout = 60

type publisher struct {
	role     awsiam.Role
	logs     awslogs.LogGroup
	function awslambda.Function
}

func (b *builder) makeFunction(pack string) {
	b.logs = awslogs.NewLogGroup(b.scope, new("Logs"), &awslogs.LogGroupProps{
		Retention: retentions[b.file.LogRetentionDays], RemovalPolicy: awscdk.RemovalPolicy_RETAIN,
	})
	b.role = awsiam.NewRole(b.scope, new("FunctionRole"), &awsiam.RoleProps{
		AssumedBy:      awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil),
		Description:    new("writes the documents, the state and the log; has no right to delete anything"),
		InlinePolicies: &map[string]awsiam.PolicyDocument{"publish": b.rights()},
	})
	props := &awslambda.FunctionProps{
		Description: new("judges snapshots and publishes the OIDC documents of Kubernetes clusters"),
		Runtime:     awslambda.Runtime_PROVIDED_AL2023(), Architecture: awslambda.Architecture_ARM_64(), Handler: new("bootstrap"),
		Code: awslambda.Code_FromAsset(new(pack), nil), Role: b.role, LogGroup: b.logs, LoggingFormat: awslambda.LoggingFormat_JSON,
		MemorySize: new(256.0), Timeout: awscdk.Duration_Seconds(new(float64(timeout))),
		Environment: &map[string]*string{"DOCUMENTS_BUCKET": b.documents.BucketName(), "PRIVATE_BUCKET": b.private.BucketName()},
	}
	if n := b.file.ReservedConcurrency; n > 0 {
		props.ReservedConcurrentExecutions = new(float64(n))
	}
	b.function = awslambda.NewFunction(b.scope, new("Function"), props)
}

// rights are the function's, written out. ListBucket makes S3 answer "no such object" instead of "denied". The log has a record for each
// change, so that its names can't be written out; and a deploy looks at the states of clusters that are not in the stack any more.
func (b *builder) rights() awsiam.PolicyDocument {
	states, logs := []*string{}, []*string{}
	for _, c := range b.file.Clusters {
		objects := c.Objects()
		states = append(states, b.private.ArnForObjects(new(objects.State)))
		logs = append(logs, b.private.ArnForObjects(new(objects.Log+"/*")))
	}
	readAndWrite := jsii.Strings("s3:GetObject", "s3:PutObject")
	return awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &[]awsiam.PolicyStatement{
		allow(readAndWrite, b.documentARNs()),
		allow(jsii.Strings("s3:PutObject"), &states),
		allow(jsii.Strings("s3:GetObject"), &[]*string{b.private.ArnForObjects(new("state/*"))}),
		allow(readAndWrite, &logs),
		allow(jsii.Strings("s3:ListBucket"), &[]*string{b.documents.BucketArn(), b.private.BucketArn()}),
		allow(jsii.Strings("logs:CreateLogStream", "logs:PutLogEvents"), &[]*string{b.logs.LogGroupArn()}),
	}})
}

func allow(actions, resources *[]*string) awsiam.PolicyStatement {
	return awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{Actions: actions, Resources: resources})
}

// retentions are what CDK calls the days that CloudWatch Logs knows.
var retentions = map[int]awslogs.RetentionDays{
	1: awslogs.RetentionDays_ONE_DAY, 3: awslogs.RetentionDays_THREE_DAYS, 5: awslogs.RetentionDays_FIVE_DAYS, 7: awslogs.RetentionDays_ONE_WEEK,
	14: awslogs.RetentionDays_TWO_WEEKS, 30: awslogs.RetentionDays_ONE_MONTH, 60: awslogs.RetentionDays_TWO_MONTHS, 90: awslogs.RetentionDays_THREE_MONTHS,
	120: awslogs.RetentionDays_FOUR_MONTHS, 150: awslogs.RetentionDays_FIVE_MONTHS, 180: awslogs.RetentionDays_SIX_MONTHS, 365: awslogs.RetentionDays_ONE_YEAR,
	400: awslogs.RetentionDays_THIRTEEN_MONTHS, 545: awslogs.RetentionDays_EIGHTEEN_MONTHS, 731: awslogs.RetentionDays_TWO_YEARS,
	1096: awslogs.RetentionDays_THREE_YEARS, 1827: awslogs.RetentionDays_FIVE_YEARS, 2192: awslogs.RetentionDays_SIX_YEARS,
	2557: awslogs.RetentionDays_SEVEN_YEARS, 2922: awslogs.RetentionDays_EIGHT_YEARS, 3288: awslogs.RetentionDays_NINE_YEARS, 3653: awslogs.RetentionDays_TEN_YEARS,
}
