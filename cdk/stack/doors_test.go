package stack_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// doorGuards hold how things come in and go out: snapshots, reads through CloudFront, the schedule, alarms.
var doorGuards = []guard{
	{name: "the distribution reads exactly the documents", in: "cloudfront", check: distributionReads, red: map[string]func(template){
		"the whole bucket": func(t template) { sid(t, "TheDistributionReadsTheDocuments")["Resource"] = "arn:aws:s3:::b/*" },
		"listing too": func(t template) {
			sid(t, "TheDistributionReadsTheDocuments")["Action"] = []any{"s3:GetObject", "s3:ListBucket"}
		},
		"everybody's distribution": func(t template) { delete(sid(t, "TheDistributionReadsTheDocuments"), "Condition") },
		"unsigned requests": func(t template) {
			only(t, "AWS::CloudFront::OriginAccessControl", "OriginAccessControlConfig")["SigningBehavior"] = "never"
		},
	}},
	{name: "the distribution is strict and forgets mistakes", in: "cloudfront", check: strictDistribution, red: map[string]func(template){
		"TLS 1.0": func(t template) {
			at(distribution(t), "ViewerCertificate").(map[string]any)["MinimumProtocolVersion"] = "TLSv1"
		},
		"TLS 1.3 only": func(t template) {
			at(distribution(t), "ViewerCertificate").(map[string]any)["MinimumProtocolVersion"] = "TLSv1.3_2025"
		},
		"plain text": func(t template) {
			at(distribution(t), "DefaultCacheBehavior").(map[string]any)["ViewerProtocolPolicy"] = "allow-all"
		},
		"a plain webhook": func(t template) {
			at(distribution(t), "CacheBehaviors", 0).(map[string]any)["ViewerProtocolPolicy"] = "allow-all"
		},
		"a cached webhook": func(t template) {
			at(distribution(t), "CacheBehaviors", 0).(map[string]any)["CachePolicyId"] = at(distribution(t), "DefaultCacheBehavior", "CachePolicyId")
		},
		"absence remembered": func(t template) {
			at(distribution(t), "CustomErrorResponses", 1).(map[string]any)["ErrorCachingMinTTL"] = 10.0
		},
		"absence remembered by default": func(t template) { delete(distribution(t), "CustomErrorResponses") },
	}},
	{name: "nobody invokes the function but through a door", check: invokers, red: map[string]func(template){
		"everybody":          func(t template) { only(t, "AWS::Lambda::Permission")["Principal"] = "*" },
		"anybody's API":      func(t template) { delete(only(t, "AWS::Lambda::Permission"), "SourceArn") },
		"any action":         func(t template) { only(t, "AWS::Lambda::Permission")["Action"] = "lambda:*" },
		"a resource forever": func(t template) { delete(t.Resources["FirstPublication"].Properties, "ServiceTimeout") },
	}},
	{name: "the function is what its package is for", check: function, red: map[string]func(template){
		"another processor": func(t template) { only(t, "AWS::Lambda::Function")["Architectures"] = []any{"x86_64"} },
		"more settings":     func(t template) { only(t, "AWS::Lambda::Function", "Environment", "Variables")["TOKEN"] = "secret" },
		"the same bucket twice": func(t template) {
			variables := only(t, "AWS::Lambda::Function", "Environment", "Variables")
			variables["PRIVATE_BUCKET"] = variables["DOCUMENTS_BUCKET"]
		},
		"a log for ever": func(t template) { delete(only(t, "AWS::Logs::LogGroup"), "RetentionInDays") },
	}},
	{name: "the webhook is throttled and takes two requests", check: httpAPI, red: map[string]func(template){
		"no throttle":   func(t template) { delete(only(t, "AWS::ApiGatewayV2::Stage"), "DefaultRouteSettings") },
		"another route": func(t template) { only(t, "AWS::ApiGatewayV2::Route")["RouteKey"] = "$default" },
	}},
	{name: "the queue retries what may succeed, and keeps what did not", check: queues, red: map[string]func(template){
		"whole batches fail": func(t template) { delete(only(t, "AWS::Lambda::EventSourceMapping"), "FunctionResponseTypes") },
		"any concurrency":    func(t template) { delete(only(t, "AWS::Lambda::EventSourceMapping"), "ScalingConfig") },
		"no dead letters": func(t template) {
			delete(t.Resources[named(t, "AWS::SQS::Queue", "Queue")].Properties, "RedrivePolicy")
		},
		"twice at the time": func(t template) {
			t.Resources[named(t, "AWS::SQS::Queue", "Queue")].Properties["VisibilityTimeout"] = 60.0
		},
		"dead letters forgot": func(t template) {
			delete(t.Resources[named(t, "AWS::SQS::Queue", "DeadLetters")].Properties, "MessageRetentionPeriod")
		},
	}},
	{name: "exporters may send, and nothing else", check: exporters, red: map[string]func(template){
		"receive too": func(t template) { grant(t, "ExporterRole", "sqs:ReceiveMessage", "arn:aws:sqs:::q") },
		"elsewhere":   func(t template) { grant(t, "ExporterRole", "sqs:SendMessage", "arn:aws:sqs:::other") },
		"none": func(t template) {
			delete(t.Resources[named(t, "AWS::IAM::Role", "ExporterRole")].Properties, "Policies")
		},
	}},
	{name: "the schedule reconciles", check: schedule, red: map[string]func(template){
		"daily":   func(t template) { only(t, "AWS::Scheduler::Schedule")["ScheduleExpression"] = "rate(1 day)" },
		"nothing": func(t template) { only(t, "AWS::Scheduler::Schedule", "Target")["Input"] = "{}" },
		"more rights": func(t template) {
			grant(t, "ScheduleRole", "lambda:InvokeFunction", "arn:aws:lambda:eu-central-1:111122223333:function:other")
		},
	}},
	{name: "alarms reach somebody", check: alarmsRing, red: map[string]func(template){
		"nobody": func(t template) {
			delete(t.Resources[named(t, "AWS::CloudWatch::Alarm", "ForkAlarm")].Properties, "AlarmActions")
		},
		"one fewer":  func(t template) { delete(t.Resources, named(t, "AWS::CloudWatch::Alarm", "RepairedAlarm")) },
		"no address": func(t template) { delete(t.Resources, t.of("AWS::SNS::Subscription")[0]) },
	}},
	{name: "a mirror has time", check: mirrorRings, in: "cloudfront", red: map[string]func(template){
		"none": func(t template) {
			t.Resources[named(t, "AWS::CloudWatch::Alarm", "MirrorAlarm")].Properties["EvaluationPeriods"] = 1.0
		},
		"nobody": func(t template) { delete(t.Resources, named(t, "AWS::CloudWatch::Alarm", "MirrorAlarm")) },
	}},
}

// only is the properties, or a part of them, of the first resource of a type.
func only(t template, kind string, path ...any) map[string]any {
	return at(t.Resources[t.of(kind)[0]].Properties, path...).(map[string]any)
}

func distribution(t template) map[string]any {
	return only(t, "AWS::CloudFront::Distribution", "DistributionConfig")
}

func distributionReads(t template) error {
	if len(t.of("AWS::CloudFront::Distribution")) == 0 {
		return nil
	}
	var want []string
	bucket := named(t, "AWS::S3::Bucket", "Documents")
	for _, cluster := range []string{"prod-eu1", "prod-us1"} {
		want = append(want, "<"+bucket+".Arn>/"+cluster+"/.well-known/openid-configuration", "<"+bucket+".Arn>/"+cluster+"/openid/v1/jwks")
	}
	for _, s := range t.statements() {
		if s.kind != "AWS::S3::BucketPolicy" || !s.allows() {
			continue
		}
		source := text(at(s.body, "Condition", "StringEquals", "AWS:SourceArn"))
		if !slices.Equal(s.resources(), want) || !slices.Equal(s.actions(), []string{"s3:GetObject"}) || at(s.body, "Principal", "Service") != "cloudfront.amazonaws.com" ||
			source != "arn:aws:cloudfront::111122223333:distribution/<"+t.of("AWS::CloudFront::Distribution")[0]+".Id>" {
			return fmt.Errorf("%v may %v on %v if %v", s.body["Principal"], s.actions(), s.resources(), s.body["Condition"])
		}
	}
	if control := only(t, "AWS::CloudFront::OriginAccessControl", "OriginAccessControlConfig"); control["SigningBehavior"] != "always" || len(text(control["Name"])) > 64 {
		return fmt.Errorf("the origin access control is %v", control)
	}
	return nil
}

func strictDistribution(t template) error {
	if len(t.of("AWS::CloudFront::Distribution")) == 0 {
		return nil
	}
	if version := text(at(distribution(t), "ViewerCertificate", "MinimumProtocolVersion")); !strings.HasPrefix(version, "TLSv1.2") {
		return fmt.Errorf("the oldest TLS is %s, want 1.2: older ones are weak, and AWS checks certificates over 1.2", version)
	}
	documents := at(distribution(t), "DefaultCacheBehavior")
	webhook := list(at(distribution(t), "CacheBehaviors"))
	for _, behavior := range append(webhook, documents) {
		if at(behavior, "ViewerProtocolPolicy") != "https-only" {
			return fmt.Errorf("plain text is let in: %v", behavior)
		}
	}
	for _, behavior := range webhook {
		if at(behavior, "CachePolicyId") == at(documents, "CachePolicyId") {
			return fmt.Errorf("the webhook is cached: %v", behavior)
		}
	}
	kept := map[any]bool{}
	for _, answer := range list(at(distribution(t), "CustomErrorResponses")) {
		seconds, given := at(answer, "ErrorCachingMinTTL").(float64)
		kept[at(answer, "ErrorCode")] = given && seconds <= 1
	}
	if !kept[403.0] || !kept[404.0] {
		return fmt.Errorf("that a document was missing is remembered for long: %v", kept)
	}
	return nil
}

// invokers: whoever could invoke the function as he likes could act as the operator, or as CloudFormation.
func invokers(t template) error {
	for _, id := range t.of("AWS::Lambda::Permission") {
		p := t.Resources[id].Properties
		url := p["Principal"] == "*" && (p["Action"] == "lambda:InvokeFunctionUrl" && p["FunctionUrlAuthType"] == "NONE" ||
			p["Action"] == "lambda:InvokeFunction" && p["InvokedViaFunctionUrl"] == true)
		api := p["Principal"] == "apigateway.amazonaws.com" && p["Action"] == "lambda:InvokeFunction" && strings.Contains(text(p["SourceArn"]), "<Api")
		if !url && !api {
			return fmt.Errorf("%s lets in %v", id, p)
		}
	}
	for _, id := range t.of("Custom::KubeIamAssumeDocuments") {
		p := t.Resources[id].Properties
		if text(p["ServiceToken"]) != "<"+named(t, "AWS::Lambda::Function", "Function")+".Arn>" || p["ServiceTimeout"] == nil {
			return fmt.Errorf("%s is %v: a deploy could hang for an hour", id, p)
		}
	}
	return nil
}

func function(t template) error {
	for _, id := range t.of("AWS::Lambda::Function") {
		p := t.Resources[id].Properties
		variables, _ := at(p, "Environment", "Variables").(map[string]any)
		if p["Runtime"] != "provided.al2023" || p["Handler"] != "bootstrap" || !slices.Equal(texts(list(p["Architectures"])), []string{"arm64"}) ||
			at(p, "LoggingConfig", "LogFormat") != "JSON" {
			return fmt.Errorf("%s is made for %v, %v, %v", id, p["Runtime"], p["Architectures"], p["LoggingConfig"])
		}
		if len(variables) != 2 || text(variables["DOCUMENTS_BUCKET"]) != "<"+named(t, "AWS::S3::Bucket", "Documents")+">" ||
			text(variables["PRIVATE_BUCKET"]) != "<"+named(t, "AWS::S3::Bucket", "Private")+">" {
			return fmt.Errorf("%s has the environment %v", id, variables)
		}
		if log := text(at(p, "LoggingConfig", "LogGroup")); log != "<"+t.of("AWS::Logs::LogGroup")[0]+">" || only(t, "AWS::Logs::LogGroup")["RetentionInDays"] == nil {
			return fmt.Errorf("%s logs to %s, which forgets nothing", id, log)
		}
	}
	return nil
}

func httpAPI(t template) error {
	if len(t.of("AWS::ApiGatewayV2::Api")) == 0 {
		return nil
	}
	if rate, limited := only(t, "AWS::ApiGatewayV2::Stage")["DefaultRouteSettings"]; !limited || at(rate, "ThrottlingRateLimit") == nil || at(rate, "ThrottlingBurstLimit") == nil {
		return fmt.Errorf("the throttle is %v", rate)
	}
	var routes []string
	for _, id := range t.of("AWS::ApiGatewayV2::Route") {
		routes = append(routes, text(t.Resources[id].Properties["RouteKey"]))
	}
	if slices.Sort(routes); !slices.Equal(routes, []string{"GET /healthz", "POST /v1/snapshots"}) {
		return fmt.Errorf("the routes are %q", routes)
	}
	return nil
}

func queues(t template) error {
	if len(t.of("AWS::SQS::Queue")) == 0 {
		return nil
	}
	mapping := only(t, "AWS::Lambda::EventSourceMapping")
	if !slices.Equal(texts(list(mapping["FunctionResponseTypes"])), []string{"ReportBatchItemFailures"}) || at(mapping, "ScalingConfig", "MaximumConcurrency") != 2.0 {
		return fmt.Errorf("the function is fed by %v", mapping)
	}
	queue, dead := t.Resources[named(t, "AWS::SQS::Queue", "Queue")].Properties, named(t, "AWS::SQS::Queue", "DeadLetters")
	function := t.Resources[named(t, "AWS::Lambda::Function", "Function")].Properties
	hidden, _ := queue["VisibilityTimeout"].(float64)
	if runs, _ := function["Timeout"].(float64); hidden < 6*runs {
		return fmt.Errorf("a message comes again after %v s, while the function may have it for %v s six times", hidden, runs)
	}
	if text(at(queue, "RedrivePolicy", "deadLetterTargetArn")) != "<"+dead+".Arn>" {
		return fmt.Errorf("what fails goes to %v", queue["RedrivePolicy"])
	}
	if days, _ := t.Resources[dead].Properties["MessageRetentionPeriod"].(float64); days < 14*24*60*60 {
		return fmt.Errorf("dead letters are kept for %v s", days)
	}
	return nil
}

func exporters(t template) error {
	queue := named(t, "AWS::SQS::Queue", "Queue")
	may := map[string]int{}
	for _, s := range t.statements() {
		if !strings.HasPrefix(s.owner, "ExporterRole") || s.trust {
			continue
		}
		if !slices.Equal(s.actions(), []string{"sqs:SendMessage"}) || !slices.Equal(s.resources(), []string{"<" + queue + ".Arn>"}) {
			return fmt.Errorf("%s may %v on %v", s.owner, s.actions(), s.resources())
		}
		may[s.owner]++
	}
	if want := map[string]int{"ExporterRoleprodeu1": 1, "ExporterRoleprodus1": 1}; queue != "" && !maps.Equal(may, want) {
		return fmt.Errorf("may send: %v, want %v", may, want)
	}
	return nil
}

func schedule(t template) error {
	function := named(t, "AWS::Lambda::Function", "Function")
	if function == "" {
		return nil
	}
	s, role := only(t, "AWS::Scheduler::Schedule"), named(t, "AWS::IAM::Role", "ScheduleRole")
	if s["ScheduleExpression"] != "rate(5 minutes)" || at(s, "Target", "Input") != `{"reconcile":true}` ||
		text(at(s, "Target", "Arn")) != "<"+function+".Arn>" || text(at(s, "Target", "RoleArn")) != "<"+role+".Arn>" {
		return fmt.Errorf("the schedule is %v", s)
	}
	for _, s := range t.statements() {
		if s.owner == role && !s.trust && !slices.Equal(append(s.actions(), s.resources()...), []string{"lambda:InvokeFunction", "<" + function + ".Arn>"}) {
			return fmt.Errorf("%s may %v on %v", role, s.actions(), s.resources())
		}
	}
	return nil
}

// mirrorRings: where other publishers are compared with, one that goes on to differ rings, and one that lags does not.
func mirrorRings(t template) error {
	if named(t, "AWS::Logs::MetricFilter", "MirrorEvents") == "" {
		return nil
	}
	id := named(t, "AWS::CloudWatch::Alarm", "MirrorAlarm")
	if id == "" || t.Resources[id].Properties["EvaluationPeriods"] != 3.0 {
		return errors.New("the alarm Mirror is missing, or rings at once")
	}
	return nil
}

func alarmsRing(t template) error {
	if len(t.of("AWS::Lambda::Function")) == 0 {
		return nil
	}
	topics := t.of("AWS::SNS::Topic")
	if len(topics) > 0 && len(t.of("AWS::SNS::Subscription")) == 0 {
		return fmt.Errorf("nobody listens to %v", topics)
	}
	for _, name := range []string{"Refused", "Stale", "Fork", "NewKey", "Repaired", "Lost", "Attention", "Errors", "Throttles", "Asleep", "DeadLetters"} {
		id := named(t, "AWS::CloudWatch::Alarm", name+"Alarm")
		if id == "" && name == "DeadLetters" && len(t.of("AWS::SQS::Queue")) == 0 {
			continue
		}
		if id == "" {
			return fmt.Errorf("there is no alarm %s", name)
		}
		actions := list(t.Resources[id].Properties["AlarmActions"])
		if !t.silent && len(actions) != 1 {
			return fmt.Errorf("alarm %s tells %v", name, actions)
		}
	}
	return nil
}
