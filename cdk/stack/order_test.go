package stack_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// deployOrder proves that CloudFormation, which knows only what refers to what, makes everything in time, and that there is no cycle.
func deployOrder(t template) error {
	needs := map[string][]string{}
	for id, r := range t.Resources {
		needs[id] = append(references(r.Properties), r.DependsOn...)
	}
	before := map[string]map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(needs)) {
		if err := collect(needs, id, nil, before); err != nil {
			return err
		}
	}
	if len(t.of("AWS::Lambda::Function")) == 0 {
		return inOrder(t, before, [][2]string{{"AWS::IAM::OIDCProvider", "workload roles"}})
	}
	return inOrder(t, before, [][2]string{
		{"AWS::S3::Bucket", "AWS::S3::BucketPolicy"},
		{"AWS::S3::BucketPolicy", "Custom::KubeIamAssumeDocuments"},
		{"AWS::IAM::Policy", "AWS::Lambda::Function"},
		{"AWS::Lambda::Function", "Custom::KubeIamAssumeDocuments"},
		{"AWS::Logs::LogGroup", "AWS::Lambda::Function"},
		{"AWS::CloudFront::Distribution", "Custom::KubeIamAssumeDocuments"},
		{"AWS::Route53::RecordSet", "Custom::KubeIamAssumeDocuments"},
		{"Custom::KubeIamAssumeDocuments", "AWS::IAM::OIDCProvider"},
		{"AWS::IAM::OIDCProvider", "workload roles"},
	})
}

// inOrder: every resource of the first type that concerns one of the second must exist before it.
func inOrder(t template, before map[string]map[string]bool, pairs [][2]string) error {
	for _, pair := range pairs {
		for _, later := range t.which(pair[1]) {
			for _, earlier := range t.which(pair[0]) {
				if pair[1] == "AWS::S3::BucketPolicy" && text(t.Resources[later].Properties["Bucket"]) != "<"+earlier+">" {
					continue // another bucket's
				}
				if provider := pair[0] == "AWS::IAM::OIDCProvider"; provider && !trusts(t.Resources[later], t.Resources[earlier]) {
					continue
				}
				if !before[later][earlier] {
					return fmt.Errorf("%s may be made before %s", later, earlier)
				}
			}
		}
	}
	return nil
}

func (t template) which(kind string) []string {
	if kind != "workload roles" {
		return t.of(kind)
	}
	return slices.DeleteFunc(t.of("AWS::IAM::Role"), func(id string) bool {
		return !strings.Contains(fmt.Sprint(t.Resources[id].Properties["AssumeRolePolicyDocument"]), "sts:AssumeRoleWithWebIdentity")
	})
}

func trusts(role, provider *resource) bool {
	host := strings.TrimPrefix(text(provider.Properties["Url"]), "https://")
	return strings.Contains(fmt.Sprint(role.Properties["AssumeRolePolicyDocument"]), ":oidc-provider/"+host+" ") ||
		strings.Contains(fmt.Sprint(role.Properties["AssumeRolePolicyDocument"]), ":oidc-provider/"+host+"]")
}

// collect finds all that must exist before a resource.
func collect(needs map[string][]string, id string, path []string, before map[string]map[string]bool) error {
	if slices.Contains(path, id) {
		return fmt.Errorf("a cycle: %v", append(path, id))
	}
	if before[id] != nil {
		return nil
	}
	all := map[string]bool{}
	for _, needed := range needs[id] {
		if _, isResource := needs[needed]; !isResource {
			continue
		}
		if err := collect(needs, needed, append(path, id), before); err != nil {
			return err
		}
		all[needed] = true
		maps.Copy(all, before[needed])
	}
	before[id] = all
	return nil
}

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9]+)`)

// references are the resources that an expression names.
func references(value any) []string {
	var all []string
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			all = append(all, references(item)...)
		}
	case map[string]any:
		if ref, ok := value["Ref"].(string); ok {
			return []string{ref}
		}
		if get := list(value["Fn::GetAtt"]); len(get) == 2 {
			return []string{text(get[0])}
		}
		for _, m := range variable.FindAllStringSubmatch(text(list(value["Fn::Sub"])), -1) {
			all = append(all, m[1])
		}
		for _, item := range value {
			all = append(all, references(item)...)
		}
	}
	return all
}
