package stack_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/aws-cdk-go/awscdk/v2/cxapi"
	"github.com/cdklabs/cdk-nag-go/cdknag/v2"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stack"
	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// accepted are the findings of cdk-nag's AwsSolutions that stay, each with the reason. The pattern is matched with "RULE at PATH".
var accepted = []struct{ finding, reason string }{
	{`^AwsSolutions-S1 at .*`, "server access logs cost more than they tell: the documents are public, and the function's own log has every write"},
	{`^AwsSolutions-S2 at prod/Documents/`, "the documents are public by design: identity services read them anonymously"},
	{`^AwsSolutions-APIG1 at `, "access logs would double what the function logs of each request"},
	{`^AwsSolutions-APIG4 at `, "who may speak is decided by signatures; an authorizer that trusts our own issuer would lock out the snapshot that announces a new key"},
	{`^AwsSolutions-IAM5\[Resource::<Private.*\.Arn>/log/.*/\*\] at prod/FunctionRole/`, "a record for each change: their names can't be written out"},
	{`^AwsSolutions-IAM5\[Resource::<Private.*\.Arn>/state/\*\] at prod/FunctionRole/`, "a deploy looks for clusters that vanished from the stack"},
	{`^AwsSolutions-CFR1 at `, "clouds read the documents from everywhere"},
	{`^AwsSolutions-CFR2 at `, "two static documents and a signed webhook: a firewall is the user's to add"},
	{`^AwsSolutions-CFR3 at `, "the documents are public; the webhook's requests are in the function's log"},
}

func TestNag(t *testing.T) {
	used := map[string]bool{}
	for _, mode := range modes {
		app := stack.NewApp()
		awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{Reports: new(false)}), nil)
		file := load(t, mode)
		s := stack.New(app, file, pack(t, file))
		for _, finding := range findings(s) {
			excuse := excuseFor(finding)
			if excuse == "" {
				t.Errorf("%s: %s", mode, finding)
			}
			used[excuse] = true
		}
	}
	for _, a := range accepted {
		if !used[a.finding] {
			t.Errorf("nothing is found any more that needs the excuse %q", a.finding)
		}
	}
}

// The rules are worth what they can see.
func TestNagSees(t *testing.T) {
	app := stack.NewApp()
	awscdk.Aspects_Of(app).Add(cdknag.NewAwsSolutionsChecks(&cdknag.NagPackProps{Reports: new(false)}), nil)
	file := load(t, "bucket")
	s := stack.New(app, file, pack(t, file))
	awssqs.NewQueue(s, new("Open"), nil)
	awsiam.NewRole(s, new("Wide"), &awsiam.RoleProps{
		AssumedBy:       awsiam.NewServicePrincipal(new("lambda.amazonaws.com"), nil),
		ManagedPolicies: &[]awsiam.IManagedPolicy{awsiam.ManagedPolicy_FromAwsManagedPolicyName(new("AdministratorAccess"))},
	})
	var seen []string
	for _, finding := range findings(s) {
		if excuseFor(finding) == "" {
			seen = append(seen, finding)
		}
	}
	if text := strings.Join(seen, "\n"); !strings.Contains(text, "SQS4 at prod/Open") || !strings.Contains(text, "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AdministratorAccess] at prod/Wide") {
		t.Errorf("got:\n%s", text)
	}
}

// excuseFor is the pattern that a finding is accepted by.
func excuseFor(finding string) string {
	for _, a := range accepted {
		if regexp.MustCompile(a.finding).MatchString(finding) {
			return a.finding
		}
	}
	return ""
}

// findings are "RULE at PATH".
func findings(s awscdk.Stack) []string {
	annotations, rule := assertions.Annotations_FromStack(s), assertions.Match_StringLikeRegexp(new("AwsSolutions-.*"))
	var all []string
	for _, found := range slices.Concat(*annotations.FindError(new("*"), rule), *annotations.FindWarning(new("*"), rule)) {
		name, _, _ := strings.Cut(found.Entry.Data.(string), ": ")        //nolint:staticcheck // where it moved to has no Go package
		all = append(all, name+" at "+strings.TrimPrefix(*found.Id, "/")) //nolint:staticcheck // as above
	}
	return all
}

// CDK runs CloudFormation's own schema and rules on every template it makes, and reports beside it.
func TestValidator(t *testing.T) {
	for _, mode := range modes {
		if _, found := validatedTemplate(t, load(t, mode)); found != "[]" {
			t.Errorf("%s: %s", mode, found)
		}
	}
	app := stack.NewApp()
	file := load(t, "bucket")
	s := stack.New(app, file, pack(t, file))
	awscdk.NewCfnResource(s, new("Broken"), &awscdk.CfnResourceProps{Type: new("AWS::SQS::Queue"), Properties: &map[string]any{"VisibilityTimeout": 99999}})
	if found := report(t, app.Synth(nil)); !strings.Contains(found, "VisibilityTimeout") {
		t.Errorf("a broken queue is not seen: %s", found)
	}
}

// validatedTemplate is the template of some settings, and what CloudFormation's rules say about it.
func validatedTemplate(t *testing.T, file stackfile.Stack) (made template, found string) {
	t.Helper()
	app := stack.NewApp()
	s := stack.New(app, file, pack(t, file))
	if err := json.Unmarshal(templateOf(t, app, s), &made); err != nil {
		t.Fatal(err)
	}
	return made, report(t, app.Synth(nil))
}

func report(t *testing.T, assembly cxapi.CloudAssembly) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(*assembly.Directory(), "validation-report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		PluginReports json.RawMessage `json:"pluginReports"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	return string(report.PluginReports)
}

// An alarm on an event that nobody logs would never ring: each is a word of the publisher's source.
func TestAlarmsAreOnEvents(t *testing.T) {
	var source strings.Builder
	for _, folder := range []string{"../../shared/publish", "../../shared/rotation", "../../functions/aws"} {
		files, err := filepath.Glob(folder + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatal(folder, err)
		}
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				source.Write(data)
			}
		}
	}
	events := regexp.MustCompile(`\$\.event = "([a-z.]+)"`)
	made := synthesize(t, "cloudfront") // which has all
	filters := made.of("AWS::Logs::MetricFilter")
	if len(filters) == 0 {
		t.Fatal("no metric filters")
	}
	for _, id := range filters {
		for _, m := range events.FindAllStringSubmatch(text(made.Resources[id].Properties["FilterPattern"]), -1) {
			if !strings.Contains(source.String(), `"`+m[1]+`"`) {
				t.Errorf("%s waits for %q, which nothing logs", id, m[1])
			}
		}
	}
}

// Every alarm says where its remedy is, and the remedy is there.
func TestEveryAlarmHasARemedy(t *testing.T) {
	docs, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	made := synthesize(t, "cloudfront")
	for _, id := range made.of("AWS::CloudWatch::Alarm") {
		_, anchor, _ := strings.Cut(text(made.Resources[id].Properties["AlarmDescription"]), "docs/aws.md#alarm-")
		if anchor == "" || !strings.Contains(string(docs), "\n### Alarm "+anchor+"\n") {
			t.Errorf("%s: docs/aws.md has no section %q", id, "### Alarm "+anchor)
		}
	}
}
