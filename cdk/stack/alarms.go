package stack

import (
	"slices"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	"github.com/aws/jsii-runtime-go"
)

// alarm is made of log events, so that all clouds alarm on the same things.
type alarm struct {
	name, says string
	events     []string
	periods    float64 // of five minutes, one after the other; 1 if zero
}

// alarms: what to do about each is in docs/aws.md.
var alarms = []alarm{
	{name: "Refused", says: "a snapshot of an enrolled cluster was refused", events: []string{"snapshot.refused"}},
	{name: "Stale", says: "a cluster has not been heard for 30 minutes", events: []string{"cluster.stale"}},
	{name: "Fork", says: "two snapshots have one number: two exporters share a key, or it was stolen", events: []string{"fork.detected"}},
	{name: "NewKey", says: "a new key is published: was this rotation yours?", events: []string{"key.added", "key.announced", "keys.replaced", "cluster.reenrolled"}},
	{name: "Repaired", says: "somebody else wrote a document, or the world sees another", events: []string{
		"document.repaired", "document.contested", "readback.differs", "readback.failed",
	}},
	{name: "Lost", says: "the state or the log is not what it should be; nothing is published until somebody looks", events: []string{
		"state.lost", "log.conflict", "reconcile.failed", "settings.invalid", "deploy.failed",
	}},
	{name: "Attention", says: "settings and clusters disagree", events: []string{
		"retirement.blocked", "revoked.listed", "generation.old", "cluster.missing", "enrollment.ignored", "clock.unsure", "key.lapsed",
	}},
}

// mirrored is for a stack whose issuers have other publishers. While a key comes or goes they differ, for less than this time.
var mirrored = alarm{
	name: "Mirror", says: "another publisher of an issuer has had other documents for 15 minutes", events: []string{"mirror.differs", "mirror.failed"}, periods: 3,
}

const namespace = "KubeIamAssume"

func (b *builder) watch() {
	b.topic = b.listeners()
	var shown []awscloudwatch.IMetric
	onEvents := alarms
	if len(b.file.Mirrors) > 0 {
		onEvents = append(slices.Clone(alarms), mirrored)
	}
	for _, a := range onEvents {
		filter := awslogs.NewMetricFilter(b.scope, new(a.name+"Events"), &awslogs.MetricFilterProps{
			LogGroup: b.logs, MetricNamespace: new(namespace), MetricName: new(b.file.Name + "-" + a.name), MetricValue: new("1"), FilterPattern: awslogs.FilterPattern_Literal(new(pattern(a.events))),
		})
		metric := filter.Metric(sum(5))
		shown = append(shown, metric)
		made := b.alarm(a.name, a.says, metric, 1, awscloudwatch.TreatMissingData_NOT_BREACHING)
		if a.periods > 0 {
			made.SetEvaluationPeriods(new(a.periods))
		}
	}
	b.alarm("Errors", "the function failed", b.function.MetricErrors(sum(5)), 1, awscloudwatch.TreatMissingData_NOT_BREACHING)
	b.alarm("Throttles", "the function was not run because too many were running", b.function.MetricThrottles(sum(5)), 1, awscloudwatch.TreatMissingData_NOT_BREACHING)
	silent := b.alarm("Asleep", "the function has not run for 15 minutes: nothing reconciles", b.function.MetricInvocations(sum(15)), 1, awscloudwatch.TreatMissingData_BREACHING)
	silent.AddPropertyOverride(new("ComparisonOperator"), "LessThanThreshold")
	if b.queue != nil {
		depth := b.deadLetters.MetricApproximateNumberOfMessagesVisible(&awscloudwatch.MetricOptions{Period: awscdk.Duration_Minutes(new(5.0)), Statistic: new("Maximum")})
		b.alarm("DeadLetters", "snapshots could not be handled five times", depth, 1, awscloudwatch.TreatMissingData_NOT_BREACHING)
	}
	if b.file.Dashboard {
		awscloudwatch.NewDashboard(b.scope, new("Dashboard"), &awscloudwatch.DashboardProps{Widgets: &[]*[]awscloudwatch.IWidget{{
			awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{Title: new("Events"), Width: new(24.0), Left: &shown}),
		}, {
			awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
				Title: new("Function"), Width: new(24.0), Left: &[]awscloudwatch.IMetric{b.function.MetricInvocations(sum(5)), b.function.MetricErrors(sum(5))},
				Right: &[]awscloudwatch.IMetric{b.function.MetricDuration(nil)},
			}),
		}}})
	}
}

// alarm rings when a metric reaches a threshold.
func (b *builder) alarm(name, says string, metric awscloudwatch.IMetric, threshold float64, missing awscloudwatch.TreatMissingData) awscloudwatch.CfnAlarm {
	a := awscloudwatch.NewAlarm(b.scope, new(name+"Alarm"), &awscloudwatch.AlarmProps{
		AlarmDescription: new(b.file.Name + ": " + says + ". What to do: docs/aws.md#alarm-" + strings.ToLower(name)),
		Metric:           metric, Threshold: new(threshold), EvaluationPeriods: new(1.0), TreatMissingData: missing,
		ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
	})
	if b.topic != nil {
		a.AddAlarmAction(awscloudwatchactions.NewSnsAction(b.topic))
	}
	return a.Node().DefaultChild().(awscloudwatch.CfnAlarm)
}

func sum(minutes float64) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{Statistic: new("Sum"), Period: awscdk.Duration_Minutes(new(minutes))}
}

// pattern finds the lines of some events among a function's JSON logs.
func pattern(events []string) string {
	var any []string
	for _, event := range events {
		any = append(any, `($.event = "`+event+`")`)
	}
	return "{ " + strings.Join(any, " || ") + " }"
}

// listeners is the topic that alarms go to; nil if the stack's file names nobody.
func (b *builder) listeners() awssns.ITopic {
	if b.file.TopicARN != "" {
		return awssns.Topic_FromTopicArn(b.scope, new("Topic"), new(b.file.TopicARN))
	}
	if b.file.Email == "" {
		return nil
	}
	topic := awssns.NewTopic(b.scope, new("Alarms"), &awssns.TopicProps{EnforceSSL: new(true)})
	topic.AddSubscription(awssnssubscriptions.NewEmailSubscription(new(b.file.Email), nil))
	topic.AddToResourcePolicy(awsiam.NewPolicyStatement(&awsiam.PolicyStatementProps{ // a topic with a policy of its own lets nobody in by default
		Sid: new("AlarmsMaySpeak"), Actions: jsii.Strings("sns:Publish"), Resources: &[]*string{topic.TopicArn()},
		Principals: &[]awsiam.IPrincipal{awsiam.NewServicePrincipal(new("cloudwatch.amazonaws.com"), nil)},
		Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": b.file.Account}},
	}))
	return topic
}
