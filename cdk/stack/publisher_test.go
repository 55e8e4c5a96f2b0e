package stack_test

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stack"
	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
)

// A stack of one's own with a publisher, and a bucket that a workload may read.
func ExampleNewPublisher() {
	file, err := stackfile.Load("../stackfile/testdata/bucket.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	app := stack.NewApp()
	s := awscdk.NewStack(app, new("platform"), &awscdk.StackProps{
		Env: &awscdk.Environment{Account: new(file.Account), Region: new(file.Region)},
	})
	publisher := stack.NewPublisher(s, new("Publisher"), &stack.PublisherProps{
		File: file, Package: "testdata", // in earnest: the folder that stack.Build(ctx, root, folder, file) made
	})
	invoices := awss3.NewBucket(s, new("Invoices"), &awss3.BucketProps{EnforceSSL: new(true)})
	role := publisher.Roles["production/payments"]
	awsiam.NewCfnRolePolicy(s, new("ReadInvoices"), &awsiam.CfnRolePolicyProps{
		RoleName: role.Ref(), PolicyName: new("read-invoices"), PolicyDocument: map[string]any{
			"Version":   "2012-10-17",
			"Statement": []any{map[string]any{"Effect": "Allow", "Action": "s3:GetObject", "Resource": invoices.ArnForObjects(new("today"))}},
		},
	})
	fmt.Println(slices.Sorted(maps.Keys(publisher.Roles)))
	// Output: [production/payments production/reports/prod-eu1 production/reports/prod-us1]
}

// Beside other things, under another name, it keeps every promise.
func TestPublisherInAnotherStack(t *testing.T) {
	file := load(t, "bucket")
	app := stack.NewApp()
	s := awscdk.NewStack(app, new("platform"), &awscdk.StackProps{Env: &awscdk.Environment{Account: new(file.Account), Region: new(file.Region)}})
	p := stack.NewPublisher(s, new("Publisher"), &stack.PublisherProps{File: file, Package: pack(t, file)})
	if p.Documents == nil || p.Private == nil || p.Function == nil || p.Queue == nil || p.DeadLetters == nil || p.Topic == nil || len(p.Providers) != 2 {
		t.Errorf("got %+v", p)
	}
	var made template
	if err := json.Unmarshal(templateOf(t, app, s), &made); err != nil {
		t.Fatal(err)
	}
	if err := deployOrder(made); err != nil {
		t.Error(err)
	}
	if err := exactTrust(made); err != nil {
		t.Error(err)
	}
	if got, want := len(made.Resources), len(synthesize(t, "bucket").Resources); got != want {
		t.Errorf("it has %d resources, want the %d of a stack of its own", got, want)
	}
}

// Issuers are decided before the stack is anywhere, so a stack elsewhere would publish under names that are not its own.
func TestPublisherInTheWrongPlace(t *testing.T) {
	file := load(t, "existing")
	for name, env := range map[string]*awscdk.Environment{
		"nowhere":         nil,
		"another-region":  {Account: new(file.Account), Region: new("us-east-1")},
		"another-account": {Account: new("444455556666"), Region: new(file.Region)},
	} {
		s := awscdk.NewStack(stack.NewApp(), new(name), &awscdk.StackProps{Env: env})
		stack.NewPublisher(s, new("Publisher"), &stack.PublisherProps{File: file})
		found := *assertions.Annotations_FromStack(s).FindError(new("*"), assertions.Match_StringLikeRegexp(new("the settings are for account 111122223333 in eu-central-1.*")))
		if len(found) != 1 {
			t.Errorf("%s: %d errors, want 1", name, len(found))
		}
	}
}

// What CloudFormation answers to a forbidden public bucket explains nothing, so it is explained beforehand, where it can happen.
func TestPublicBucketIsExplained(t *testing.T) {
	for mode, want := range map[string]int{"bucket": 1, "cloudfront": 0} {
		file := load(t, mode)
		s := stack.New(stack.NewApp(), file, pack(t, file))
		found := *assertions.Annotations_FromStack(s).FindInfo(new("*"), assertions.Match_StringLikeRegexp(new(".*BlockPublicPolicy.*cloudFront.*")))
		if len(found) != want {
			t.Errorf("%s: said %d times, want %d", mode, len(found), want)
		}
	}
}

// The package is what Lambda runs and the function reads, and the same bytes every time.
func TestBuild(t *testing.T) {
	file := load(t, "bucket")
	first, second := t.TempDir(), filepath.Join(t.TempDir(), "new")
	for _, folder := range []string{first, second} {
		if err := os.MkdirAll(filepath.Join(folder, "clusters"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "clusters", "left.yaml"), nil, 0o600); err != nil { // of an earlier deploy
			t.Fatal(err)
		}
		if err := stack.Build(t.Context(), "../..", folder, file); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := elf.Open(filepath.Join(first, "bootstrap"))
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Machine != elf.EM_AARCH64 {
		t.Errorf("it is for %s", binary.Machine)
	}
	p, err := enrollment.LoadFS(os.DirFS(first), "publisher.yaml")
	if err != nil || p.Name != file.PublisherName() {
		t.Errorf("the function reads %+v, %v", p, err)
	}
	if a, b := contents(t, first), contents(t, second); !maps.Equal(a, b) || len(a) != 4 {
		t.Errorf("%v and %v differ", slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
	}
}

func TestBuildFails(t *testing.T) {
	if err := stack.Build(context.Background(), t.TempDir(), t.TempDir(), load(t, "bucket")); !errors.Is(err, stack.ErrBuild) || !strings.Contains(err.Error(), "functions/aws") {
		t.Errorf("got %v", err)
	}
}

func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, folder)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
