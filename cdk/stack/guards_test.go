package stack_test

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A guard holds the template to one promise.
type guard struct {
	name  string
	check func(template) error
	red   map[string]func(template) // ways to break the promise in the first mode, each of which the guard must see
	in    string                    // another mode to break it in
}

var guards = slices.Concat(storeGuards, trustGuards, doorGuards)

var storeGuards = []guard{
	{name: "the world reads exactly the documents", check: worldReads, red: map[string]func(template){
		"a third object": func(t template) {
			s := sid(t, "TheWorldReadsTheDocuments")
			s["Resource"] = append(list(s["Resource"]), "arn:aws:s3:::b/prod-eu1/state.json")
		},
		"the whole bucket": func(t template) { sid(t, "TheWorldReadsTheDocuments")["Resource"] = "arn:aws:s3:::b/*" },
		"listing too": func(t template) {
			sid(t, "TheWorldReadsTheDocuments")["Action"] = []any{"s3:GetObject", "s3:ListBucket"}
		},
		"the private bucket": func(t template) {
			t.Resources[t.of("AWS::S3::Bucket")[1]].Properties["PublicAccessBlockConfiguration"] = nil
		},
		"one document fewer": func(t template) { s := sid(t, "TheWorldReadsTheDocuments"); s["Resource"] = list(s["Resource"])[1:] },
	}},
	{name: "only the function writes, and only on conditions", check: onlyFunctionWrites, red: map[string]func(template){
		"nobody is denied":    func(t template) { sid(t, "OnlyTheFunctionWrites")["Effect"] = "Allow" },
		"deletes are allowed": func(t template) { sid(t, "OnlyTheFunctionWrites")["Action"] = "s3:PutObject" },
		"some objects only":   func(t template) { sid(t, "OnlyTheFunctionWrites")["Resource"] = "arn:aws:s3:::b/x" },
		"another role": func(t template) {
			sid(t, "OnlyTheFunctionWrites")["Condition"] = map[string]any{"ArnNotEquals": map[string]any{"aws:PrincipalArn": "*"}}
		},
		"blind writes":            func(t template) { delete(sid(t, "OnlyConditionalWrites"), "Condition") },
		"the schedule writes too": func(t template) { grant(t, "ScheduleRole", "s3:PutObject", "arn:aws:s3:::b/prod-eu1/openid/v1/jwks") },
	}},
	{name: "data outlives the stack", check: dataIsKept, red: map[string]func(template){
		"a bucket is deleted": func(t template) { t.Resources[t.of("AWS::S3::Bucket")[0]].DeletionPolicy = "Delete" },
		"the state is deleted after a failed deploy": func(t template) {
			t.Resources[t.of("AWS::S3::Bucket")[1]].DeletionPolicy = "RetainExceptOnCreate"
		},
		"a bucket is replaced": func(t template) { t.Resources[t.of("AWS::S3::Bucket")[1]].UpdateReplacePolicy = "" },
		"no versions": func(t template) {
			delete(t.Resources[t.of("AWS::S3::Bucket")[0]].Properties, "VersioningConfiguration")
		},
		"plain text": func(t template) { deny(t, "aws:SecureTransport")["Effect"] = "Allow" },
	}},
}

var trustGuards = []guard{
	{name: "no right is wider than its purpose", check: leastPrivilege, red: map[string]func(template){
		"all actions":         func(t template) { grant(t, "FunctionRole", "s3:*", "arn:aws:s3:::b/x") },
		"all resources":       func(t template) { grant(t, "FunctionRole", "sqs:SendMessage", "*") },
		"the right to delete": func(t template) { grant(t, "FunctionRole", "s3:DeleteObject", "arn:aws:s3:::b/x") },
		"a managed policy": func(t template) {
			t.Resources[named(t, "AWS::IAM::Role", "FunctionRole")].Properties["ManagedPolicyArns"] = []any{"arn:aws:iam::aws:policy/AdministratorAccess"}
		},
	}},
	{name: "trust names audience and subject", check: exactTrust, red: map[string]func(template){
		"no audience": func(t template) { forget(t, ":aud") },
		"no subject":  func(t template) { forget(t, ":sub") },
		"a pattern": func(t template) {
			trust := webIdentity(t)[0].body
			trust["Condition"] = map[string]any{"StringLike": at(trust, "Condition", "StringEquals")}
		},
		"any service account": func(t template) {
			equals := at(webIdentity(t)[0].body, "Condition", "StringEquals").(map[string]any)
			for key := range equals {
				if strings.HasSuffix(key, ":sub") {
					equals[key] = "system:serviceaccount:production:*"
				}
			}
		},
	}},
	{name: "one audience, and no thumbprints", check: providers, red: map[string]func(template){
		"another audience": func(t template) {
			only(t, "AWS::IAM::OIDCProvider")["ClientIdList"] = []any{"sts.amazonaws.com", "vault"}
		},
		"one": func(t template) {
			t.Resources[t.of("AWS::IAM::OIDCProvider")[0]].Properties["ThumbprintList"] = []any{strings.Repeat("a", 40)}
		},
	}},
	{name: "one deploy is enough", check: deployOrder, red: map[string]func(template){
		"the provider does not wait":                         func(t template) { t.Resources[t.of("AWS::IAM::OIDCProvider")[0]].DependsOn = nil },
		"the first publication does not wait for the policy": func(t template) { hurry(t, "FirstPublication", "DocumentsPolicy") },
		"an exporter's role does not wait for its provider":  func(t template) { hurry(t, "ExporterRoleprodeu1", "Providers") },
		"a cycle": func(t template) {
			f := t.Resources[named(t, "AWS::Lambda::Function", "Function")]
			f.DependsOn = append(f.DependsOn, "FirstPublication")
		},
	}},
	{name: "one deploy is enough behind CloudFront", check: deployOrder, in: "cloudfront", red: map[string]func(template){
		"the name is not awaited": func(t template) { hurry(t, "FirstPublication", "RecordAAAA") },
	}},
	{name: "one deploy is enough elsewhere", check: deployOrder, in: "existing", red: map[string]func(template){
		"a role does not wait for its provider": func(t template) { hurry(t, t.of("AWS::IAM::Role")[0], "Providers") },
	}},
}

func TestGuards(t *testing.T) {
	for _, g := range guards {
		for _, mode := range modes {
			if err := g.check(synthesize(t, mode)); err != nil {
				t.Errorf("%s: %s: %v", mode, g.name, err)
			}
		}
		for how, spoil := range g.red {
			broken := synthesize(t, cmp.Or(g.in, modes[0]))
			spoil(broken)
			if g.check(broken) == nil {
				t.Errorf("%q is not seen by the guard %q", how, g.name)
			}
		}
	}
}

func worldReads(t template) error {
	var read []string
	for _, s := range t.statements() {
		principal := at(s.body, "Principal")
		if !s.allows() || principal != "*" && at(principal, "AWS") != "*" {
			continue
		}
		if s.kind != "AWS::S3::BucketPolicy" || !slices.Equal(s.actions(), []string{"s3:GetObject"}) {
			return fmt.Errorf("%s lets everybody %v", s.owner, s.actions())
		}
		read = append(read, s.resources()...)
	}
	var want []string
	if documents := named(t, "AWS::S3::Bucket", "Documents"); documents != "" && len(t.of("AWS::CloudFront::Distribution")) == 0 {
		for _, cluster := range []string{"prod-eu1", "prod-us1"} {
			want = append(want, "<"+documents+".Arn>/"+cluster+"/.well-known/openid-configuration", "<"+documents+".Arn>/"+cluster+"/openid/v1/jwks")
		}
	}
	if slices.Sort(read); !slices.Equal(read, want) {
		return fmt.Errorf("the world reads %q, want %q", read, want)
	}
	for _, id := range t.of("AWS::S3::Bucket") {
		if open := len(want) > 0 && strings.HasPrefix(id, "Documents"); !open && at(t.Resources[id].Properties, "PublicAccessBlockConfiguration", "RestrictPublicBuckets") != true {
			return fmt.Errorf("bucket %s could be opened by a policy", id)
		}
	}
	return nil
}

func onlyFunctionWrites(t template) error {
	role := named(t, "AWS::IAM::Role", "FunctionRole")
	for _, s := range t.statements() {
		if s.allows() && s.owner != role && slices.ContainsFunc(s.actions(), func(a string) bool { return a == "s3:PutObject" || a == "s3:*" || a == "*" }) {
			return fmt.Errorf("%s may %v", s.owner, s.actions())
		}
	}
	for _, id := range t.of("AWS::S3::BucketPolicy") {
		bucket := text(at(t.Resources[id].Properties, "Bucket"))
		all := strings.TrimSuffix(bucket, ">") + ".Arn>/*"
		others, blind := false, false
		for _, s := range t.statements() {
			if s.owner != id || s.allows() || !slices.Equal(s.resources(), []string{all}) {
				continue
			}
			others = others || text(at(s.body, "Condition", "ArnNotEquals", "aws:PrincipalArn")) == "<"+role+".Arn>" &&
				contains(s.actions(), "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion")
			null := at(s.body, "Condition", "Null")
			blind = blind || at(null, "s3:if-match") == "true" && at(null, "s3:if-none-match") == "true" && contains(s.actions(), "s3:PutObject")
		}
		if !others || !blind {
			return fmt.Errorf("%s: others are kept from writing: %t; blind writes are refused: %t", id, others, blind)
		}
	}
	return nil
}

// leastPrivilege allows two patterns: the records of an issuer's log, of which there is one for each change, and reading the states of clusters that
// are not in the stack any more.
func leastPrivilege(t template) error {
	for _, s := range t.statements() {
		if s.kind != "AWS::IAM::Role" && s.kind != "AWS::IAM::Policy" || !s.allows() || s.trust {
			continue
		}
		for _, action := range s.actions() {
			if strings.Contains(action, "*") || strings.HasPrefix(action, "s3:Delete") {
				return fmt.Errorf("%s may %s", s.owner, action)
			}
		}
		for _, resource := range s.resources() {
			record := strings.HasPrefix(resource, "<Private") && strings.Contains(resource, ".Arn>/log/") && strings.HasSuffix(resource, "/*")
			state := strings.HasPrefix(resource, "<Private") && strings.HasSuffix(resource, ".Arn>/state/*") && slices.Equal(s.actions(), []string{"s3:GetObject"})
			if strings.ContainsAny(resource, "*?") && !record && !state {
				return fmt.Errorf("%s may %v on %s", s.owner, s.actions(), resource)
			}
		}
	}
	for _, id := range t.of("AWS::IAM::Role") {
		if arns := t.Resources[id].Properties["ManagedPolicyArns"]; arns != nil && !strings.HasPrefix(id, "Roles") {
			return fmt.Errorf("%s has the managed policies %v", id, arns)
		}
	}
	return nil
}

func exactTrust(t template) error {
	if len(webIdentity(t)) == 0 {
		return errors.New("nobody is trusted")
	}
	for _, s := range webIdentity(t) {
		_, host, _ := strings.Cut(text(at(s.body, "Principal", "Federated")), ":oidc-provider/")
		equals, _ := at(s.body, "Condition", "StringEquals").(map[string]any)
		subject, _ := equals[host+":sub"].(string)
		if len(at(s.body, "Condition").(map[string]any)) != 1 || len(equals) != 2 || equals[host+":aud"] != "sts.amazonaws.com" ||
			!strings.HasPrefix(subject, "system:serviceaccount:") || strings.ContainsAny(subject, "*?") {
			return fmt.Errorf("%s trusts on %v", s.owner, s.body["Condition"])
		}
	}
	return nil
}

func providers(t template) error {
	for _, id := range t.of("AWS::IAM::OIDCProvider") {
		if audiences := texts(list(t.Resources[id].Properties["ClientIdList"])); !slices.Equal(audiences, []string{"sts.amazonaws.com"}) {
			return fmt.Errorf("%s is for %q", id, audiences)
		}
		if t.Resources[id].Properties["ThumbprintList"] != nil {
			return fmt.Errorf("%s has thumbprints, which a new certificate would make wrong", id)
		}
	}
	return nil
}

func dataIsKept(t template) error {
	for _, id := range t.of("AWS::S3::Bucket") {
		r := t.Resources[id]
		kept := r.DeletionPolicy == "Retain" || r.DeletionPolicy == "RetainExceptOnCreate" && hasFixedName(r)
		if !kept || r.UpdateReplacePolicy != "Retain" || at(r.Properties, "VersioningConfiguration", "Status") != "Enabled" {
			return fmt.Errorf("%s could be lost", id)
		}
	}
	plain := 0
	for _, s := range t.statements() {
		if at(s.body, "Condition", "Bool", "aws:SecureTransport") == "false" {
			if s.allows() {
				return fmt.Errorf("%s allows plain text", s.owner)
			}
			plain++
		}
	}
	if want := len(t.of("AWS::S3::Bucket")) + len(t.of("AWS::SQS::Queue")) + len(t.of("AWS::SNS::Topic")); plain != want {
		return fmt.Errorf("%d buckets, queues and topics refuse plain text, want %d", plain, want)
	}
	return nil
}

// hasFixedName: a bucket that a failed first deploy left would be in the way of the second.
func hasFixedName(bucket *resource) bool {
	return bucket.Properties["BucketName"] != nil || bucket.Properties["BucketNamePrefix"] != nil
}

func webIdentity(t template) []statement {
	return slices.DeleteFunc(t.statements(), func(s statement) bool { return !contains(s.actions(), "sts:AssumeRoleWithWebIdentity") })
}

func contains(all []string, some ...string) bool {
	return !slices.ContainsFunc(some, func(one string) bool { return !slices.Contains(all, one) })
}

// named finds the resource of a type whose logical ID begins with a name.
func named(t template, kind, name string) string {
	for _, id := range t.of(kind) {
		if strings.HasPrefix(id, name) {
			return id
		}
	}
	return ""
}

func sid(t template, id string) map[string]any {
	for _, s := range t.statements() {
		if s.body["Sid"] == id {
			return s.body
		}
	}
	panic("no statement " + id)
}

// hurry makes a resource not wait for others.
func hurry(t template, id, others string) {
	r := t.Resources[id]
	r.DependsOn = slices.DeleteFunc(r.DependsOn, func(id string) bool { return strings.HasPrefix(id, others) })
}

func deny(t template, condition string) map[string]any {
	for _, s := range t.statements() {
		if at(s.body, "Condition", "Bool", condition) != nil {
			return s.body
		}
	}
	panic("no statement with " + condition)
}

func grant(t template, role, action, resource string) {
	r := t.Resources[named(t, "AWS::IAM::Role", role)]
	r.Properties["Policies"] = append(list(r.Properties["Policies"]), map[string]any{"PolicyDocument": map[string]any{
		"Statement": []any{map[string]any{"Effect": "Allow", "Action": action, "Resource": resource}},
	}})
}

func forget(t template, suffix string) {
	equals := at(webIdentity(t)[0].body, "Condition", "StringEquals").(map[string]any)
	for key := range equals {
		if strings.HasSuffix(key, suffix) {
			delete(equals, key)
		}
	}
}
