// Package stackfile reads stack.yaml, which says what `cdk deploy` provisions, and knows what follows from it: names, URLs, trust
// policies and the publisher's own settings. It knows nothing of CDK.
package stackfile

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// Webhook is the door for snapshots.
type Webhook string

// The doors. Without a webhook, snapshots come through the queue only, and a lost rotation needs the operator.
const (
	HTTPAPI     Webhook = "httpAPI"
	FunctionURL Webhook = "functionURL"
	NoWebhook   Webhook = "none"
)

// Audience is what the tokens of workloads are for.
const Audience = "sts.amazonaws.com"

// Stack is what one deploy provisions.
type Stack struct {
	Name, Account, Region string
	Hosting               Hosting
	Clusters              []Cluster
	Retention             time.Duration // of a key that left
	Mirrors               []string      // base URLs of other publishers of the same issuers, without the clusters' paths
	Roles                 []Role
	Webhook               Webhook
	Queue                 bool
	Email, TopicARN       string // who is told of alarms; at most one
	LogRetentionDays      int
	Dashboard             bool
	ReservedConcurrency   int // 0 for none

	files map[string][]byte // the clusters' files as they were read, by their name in the function's package
}

// Hosting is where the documents are.
type Hosting struct {
	URL string // of all issuers, without the clusters' paths

	BucketPrefix string // an account-regional bucket of this prefix,
	BucketName   string // or one of this name; neither for CloudFront and existing

	Domain, CertificateARN, HostedZoneID string // CloudFront
	Existing                             bool   // published elsewhere
}

// Cluster is an enrolled cluster and its issuer.
type Cluster struct {
	enrollment.Cluster

	Issuer string
}

// host is the issuer as IAM names it: without the scheme.
func (c Cluster) host() string { return strings.TrimPrefix(c.Issuer, "https://") }

// Objects are the names of what the publisher stores for the cluster.
func (c Cluster) Objects() publish.Objects {
	objects, err := publish.ObjectsOf(enrollment.Issuer{URL: c.Issuer, Path: c.ID})
	if err != nil {
		panic(fmt.Sprintf("stackfile: a cluster that was checked has no names: %v", err))
	}
	return objects
}

// Role is what one service account may assume.
type Role struct {
	Namespace, Name string
	Clusters        []Cluster
	PerCluster      bool // a role for each cluster
	ManagedPolicies []string
	InlinePolicies  []Policy
}

// PublisherName is the name that snapshots carry in "aud". It says where the publisher is, so that no two have one name.
func (s Stack) PublisherName() string { return s.Name + "/" + s.Account }

// Package is what is packed with the function, by file name: the publisher's settings and the clusters' files.
func (s Stack) Package() map[string][]byte {
	type issuer struct {
		URL       string   `yaml:"url"`
		Path      string   `yaml:"path"`
		Clusters  []string `yaml:"clusters,flow"`
		Retention string   `yaml:"retention"`
		Mirrors   []string `yaml:"mirrors,flow,omitempty"`
	}
	var issuers []issuer
	for _, c := range s.Clusters {
		made := issuer{URL: c.Issuer, Path: c.ID, Clusters: []string{c.ID}, Retention: s.Retention.String()}
		for _, mirror := range s.Mirrors {
			made.Mirrors = append(made.Mirrors, mirror+"/"+c.ID)
		}
		issuers = append(issuers, made)
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": settings.APIVersion, "kind": "Publisher", "name": s.PublisherName(),
		"issuers": issuers, "clusters": map[string]string{"directory": "clusters/"},
	})
	if err != nil {
		panic(fmt.Sprintf("stackfile: strings can't be written as YAML: %v", err))
	}
	files := maps.Clone(s.files)
	files["publisher.yaml"] = text
	return files
}

// checkPublisher reads the package as the function will.
func (s Stack) checkPublisher() error {
	packed := fstest.MapFS{}
	for name, data := range s.Package() {
		packed[name] = &fstest.MapFile{Data: data}
	}
	_, err := enrollment.LoadFS(packed, "publisher.yaml")
	return err
}

var (
	stackName      = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]{0,99}$`)
	accountID      = regexp.MustCompile(`^[0-9]{12}$`)
	region         = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	label          = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	domain         = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$`)
	certificateARN = regexp.MustCompile(`^arn:aws:acm:us-east-1:[0-9]{12}:certificate/[-a-z0-9]+$`)
	hostedZoneID   = regexp.MustCompile(`^Z[A-Z0-9]{1,31}$`)
	topicARN       = regexp.MustCompile(`^arn:aws[-a-z]*:sns:[-a-z0-9]+:[0-9]{12}:[-_A-Za-z0-9]+$`)
	email          = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
	managedPolicy  = regexp.MustCompile(`^arn:aws[-a-z]*:iam::([0-9]{12}|aws):policy/[-_+=,.@/A-Za-z0-9]+$`)
	policyName     = regexp.MustCompile(`^[-+=,.@_A-Za-z0-9]{1,128}$`)
	serviceAccount = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
)

// logRetentions are the days that CloudWatch Logs knows.
var logRetentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func (r reader) check(s Stack) error {
	for _, c := range []struct {
		ok     bool
		at     []any
		format string
		args   []any
	}{
		{stackName.MatchString(s.Name), []any{"name"}, "name %q: want a letter, then letters, digits and hyphens, at most 100", []any{s.Name}},
		{accountID.MatchString(s.Account), []any{"account"}, "account %q: want 12 digits", []any{s.Account}},
		{region.MatchString(s.Region), []any{"region"}, "region %q: want one such as eu-central-1", []any{s.Region}},
		{s.Retention > 0, []any{"retention"}, "retention %s: want longer than the longest token that the API servers give out", []any{s.Retention}},
		{
			slices.Contains([]Webhook{HTTPAPI, FunctionURL, NoWebhook}, s.Webhook),
			[]any{"webhook"},
			"webhook %q: want httpAPI, functionURL or none",
			[]any{s.Webhook},
		},
		{s.Queue || s.Webhook != NoWebhook, []any{"webhook"}, "neither webhook nor queue: no snapshot could come in", nil},
		{s.Email == "" || email.MatchString(s.Email), []any{"alarms", "email"}, "e-mail address %q", []any{s.Email}},
		{s.Email == "" || s.TopicARN == "", []any{"alarms"}, "want email or topicARN, not both: a topic of your own can have the address as a subscriber", nil},
		{s.TopicARN == "" || topicARN.MatchString(s.TopicARN), []any{"alarms", "topicARN"}, "topic %q: want the ARN of an SNS topic", []any{s.TopicARN}},
		{
			slices.Contains(logRetentions, s.LogRetentionDays),
			[]any{"logs", "retentionDays"},
			"%d days: CloudWatch Logs knows %v",
			[]any{s.LogRetentionDays, logRetentions},
		},
		{
			s.ReservedConcurrency == 0 || s.ReservedConcurrency >= 5 && s.ReservedConcurrency <= 1000,
			[]any{"reservedConcurrency"},
			"reserved concurrency %d: want 5 or more, for the queue (2), the webhook, the schedule and a deploy; or none",
			[]any{s.ReservedConcurrency},
		},
	} {
		if !c.ok {
			return r.Errorf(c.at, c.format, c.args...)
		}
	}
	return nil
}
