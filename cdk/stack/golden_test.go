package stack_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the templates anew: this is what the next deploy of every user changes")

// The template of each mode is kept, so that every change of it is seen and meant.
func TestGolden(t *testing.T) {
	for _, mode := range modes {
		synthesize(t, mode)
		file := "testdata/" + mode + ".template.json"
		if *update {
			if err := os.WriteFile(file, made[mode], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if kept, err := os.ReadFile(file); err != nil || !bytes.Equal(kept, made[mode]) {
			t.Errorf("%s is not what the stack makes now (%v): if that is meant, go test ./stack -run TestGolden -update", file, err)
		}
	}
}

// A synthesis of the same settings gives the same bytes, or every deploy would change something.
func TestSameAgain(t *testing.T) {
	synthesize(t, "bucket")
	if again := render(t, load(t, "bucket")); !bytes.Equal(again, made["bucket"]) {
		t.Error("two syntheses differ")
	}
}

// lasting are what users and clouds hold on to, each with the properties that CloudFormation can't change without making it anew.
var lasting = map[string][]string{
	"AWS::S3::Bucket":               {"BucketName", "BucketNamePrefix", "BucketNamespace"},
	"AWS::IAM::OIDCProvider":        {"Url"},
	"AWS::Lambda::Function":         {"FunctionName", "PackageType"},
	"AWS::ApiGatewayV2::Api":        {"ProtocolType"},
	"AWS::Lambda::Url":              {"TargetFunctionArn"},
	"AWS::SQS::Queue":               {"QueueName", "FifoQueue"},
	"AWS::IAM::Role":                {"RoleName", "Path"},
	"AWS::CloudFront::Distribution": {},
	"AWS::Logs::LogGroup":           {"LogGroupName"},
}

// replaced says which of the last release's lasting resources a deploy of the new template would delete or make anew.
func replaced(last, next template) error {
	for _, id := range slices.Sorted(maps.Keys(last.Resources)) {
		old := last.Resources[id]
		properties, lasts := lasting[old.Type]
		if !lasts {
			continue
		}
		now := next.Resources[id]
		if now == nil || now.Type != old.Type {
			return fmt.Errorf("%s (%s) would be deleted", id, old.Type)
		}
		for _, property := range properties {
			if !reflect.DeepEqual(old.Properties[property], now.Properties[property]) {
				return fmt.Errorf("%s (%s) would be replaced: %s was %v and is %v", id, old.Type, property, old.Properties[property], now.Properties[property])
			}
		}
	}
	return nil
}

// The templates in testdata/released are the last release's (before the first, those of its first commit), and are never written by -update: an upgrade must not take a user's bucket, provider,
// function, queue or webhook URL away.
func TestNothingLastingIsReplaced(t *testing.T) {
	for _, mode := range modes {
		data, err := os.ReadFile("testdata/released/" + mode + ".template.json")
		if err != nil {
			t.Fatal(err)
		}
		var last template
		if err := json.Unmarshal(data, &last); err != nil {
			t.Fatal(err)
		}
		if err := replaced(last, synthesize(t, mode)); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	for how, spoil := range map[string]func(template){
		"another issuer": func(next template) {
			next.Resources[next.of("AWS::IAM::OIDCProvider")[0]].Properties["Url"] = "https://elsewhere.example.com"
		},
		"another bucket": func(next template) {
			next.Resources[next.of("AWS::S3::Bucket")[0]].Properties["BucketNamePrefix"] = "other"
		},
		"a renamed API": func(next template) { delete(next.Resources, next.of("AWS::ApiGatewayV2::Api")[0]) },
		"a named role":  func(next template) { next.Resources[next.of("AWS::IAM::Role")[0]].Properties["RoleName"] = "oidc" },
		"another type":  func(next template) { next.Resources[next.of("AWS::SQS::Queue")[0]].Type = "AWS::SNS::Topic" },
	} {
		next := synthesize(t, "bucket")
		spoil(next)
		if replaced(synthesize(t, "bucket"), next) == nil {
			t.Errorf("%s: not seen", how)
		}
	}
}
