// Package provision makes the resources of a stack real, as far as a machine without a cloud can: it is the AWS account behind package
// cloudformation.
//
// Buckets, identity providers, roles and their policies are versitygw's, an independent implementation of S3, IAM and STS. A function is
// its binary behind Lambda's runtime API, with credentials of its role that versitygw gave. Custom resources are invoked and awaited.
// An HTTP API turns requests into events, an event source mapping polls the queue, a schedule waits to be told. The rest is recorded; Kinds
// lists it, and no other type can be deployed.
//
// Everything is reached under the names it has in AWS, over TLS. A bucket of a stack is behind a gate of this package's, in front of versitygw.
// What versitygw does not know is kept here and said where it is: conditions of bucket policies on the principal and on conditional
// writes (gate.go), services that assume roles (principals.go), managed policies and the rights of roles outside S3 (rights.go).
// Signatures of requests to the queue are not checked.
package provision

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
	"github.com/kube-iam-assume/kube-iam-assume/test/aws/queue"
)

// Options are the parts that the account is made of.
type Options struct {
	ID, Region string
	IAM        *iam.Client   // of versitygw, with root's credentials
	STS        *sts.Client   // of versitygw, with nobody's
	S3         *awss3.Client // of versitygw, with root's credentials
	Gateway    string        // where versitygw's S3 is, host:port, whatever name a bucket has
	Roots      string        // file of the authorities that a function trusts
	Asset      func(bucket, key string) ([]byte, bool)
	Serve      func(host string, handler http.Handler) // puts a handler at https://host
	Folder     string                                  // for unpacked functions
	Managed    map[string]string                       // documents of managed policies by ARN
}

// Account is all that a stack's resources are in.
type Account struct {
	options    Options
	principals *principals
	upstream   http.RoundTripper
	ctx        context.Context // of what goes on by itself: polling, processes
	cancel     context.CancelFunc
	polling    sync.WaitGroup

	building sync.Mutex
	rebuilt  map[[sha256.Size]byte][]byte // functions for this machine's processor, by the digest of the packed ones

	mu        sync.Mutex
	ceiling   string            // service control policy: a document of denials that every role gets
	blocked   BlockPublicAccess // of the account
	buckets   map[string]*bucket
	roles     map[string]*role       // by name
	sessions  map[string]string      // ARN of the role by access key ID
	functions map[string]*function   // by ARN
	answers   map[string]chan answer // of custom resources, by token
	apis      map[string]*api
	schedules map[string]*schedule
	queues    map[string]*queue.Queue
	pollers   map[string]context.CancelFunc
	served    map[string]bool // hosts
}

// New makes an empty account. Call Stop.
func New(ctx context.Context, options Options) (*Account, error) {
	a := &Account{
		options: options, upstream: newGateway(options), buckets: map[string]*bucket{}, roles: map[string]*role{}, sessions: map[string]string{},
		functions: map[string]*function{}, answers: map[string]chan answer{}, apis: map[string]*api{},
		schedules: map[string]*schedule{},
		queues:    map[string]*queue.Queue{}, pollers: map[string]context.CancelFunc{}, served: map[string]bool{},
		rebuilt: map[[sha256.Size]byte][]byte{},
	}
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if a.principals, err = newPrincipals(a.host("service-principals")); err != nil {
		return nil, err
	}
	a.serve(a.host("service-principals"), a.principals)
	a.serve(a.responsesHost(), http.HandlerFunc(a.takeAnswer))
	if _, err := a.createProvider(ctx, a.principals.issuer(), []string{serviceAudience}, nil); err != nil {
		return nil, fmt.Errorf("register the services of AWS: %w", err)
	}
	return a, nil
}

// Stop ends functions and polling.
func (a *Account) Stop() {
	a.cancel()
	a.polling.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range a.functions {
		f.stop()
	}
}

// host is the name of a regional service.
func (a *Account) host(service string) string {
	return service + "." + a.options.Region + ".amazonaws.com"
}

// serve puts a handler at a host. A bucket that is made again has the handler it had.
func (a *Account) serve(host string, handler http.Handler) {
	a.mu.Lock()
	known := a.served[host]
	a.served[host] = true
	a.mu.Unlock()
	if !known {
		a.options.Serve(host, handler)
	}
}

// arn is the name of a regional resource.
func (a *Account) arn(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, a.options.Region, a.options.ID, resource)
}

// Kinds are the types of resources that a stack may have here.
func (a *Account) Kinds() map[string]cloudformation.Kind {
	kinds := map[string]cloudformation.Kind{
		"AWS::S3::Bucket":                 {Provisioner: buckets{a}, CreateOnly: []string{"BucketName", "BucketNamePrefix", "BucketNamespace"}},
		"AWS::S3::BucketPolicy":           {Provisioner: bucketPolicies{a}, CreateOnly: []string{"Bucket"}},
		"AWS::IAM::Role":                  {Provisioner: roles{a}, CreateOnly: []string{"RoleName", "Path"}},
		"AWS::IAM::Policy":                {Provisioner: policies{a}, CreateOnly: []string{"PolicyName"}},
		"AWS::IAM::OIDCProvider":          {Provisioner: providers{a}, CreateOnly: []string{"Url"}},
		"AWS::Lambda::Function":           {Provisioner: functions{a}, CreateOnly: []string{"FunctionName", "PackageType"}},
		"AWS::Lambda::Permission":         {Provisioner: permissions{a}, CreateOnly: []string{"Action", "FunctionName", "Principal", "SourceArn"}},
		"AWS::ApiGatewayV2::Api":          {Provisioner: apis{a}, CreateOnly: []string{"ProtocolType"}},
		"AWS::ApiGatewayV2::Integration":  {Provisioner: apiParts{a, "integration"}, CreateOnly: []string{"ApiId"}},
		"AWS::ApiGatewayV2::Route":        {Provisioner: apiParts{a, "route"}, CreateOnly: []string{"ApiId"}},
		"AWS::ApiGatewayV2::Stage":        {Provisioner: apiParts{a, "stage"}, CreateOnly: []string{"ApiId", "StageName"}},
		"AWS::Scheduler::Schedule":        {Provisioner: schedules{a}, CreateOnly: []string{"Name"}},
		"AWS::Lambda::EventSourceMapping": {Provisioner: mappings{a}, CreateOnly: []string{"EventSourceArn"}},
		"AWS::SQS::Queue":                 {Provisioner: queues{a}, CreateOnly: []string{"QueueName", "FifoQueue"}},
		"Custom::*":                       {Provisioner: customs{a}, CreateOnly: []string{"ServiceToken"}},
	}
	for name, r := range recorded {
		kinds[name] = cloudformation.Recorded(a.options.ID, a.options.Region, r.name, r.arn, r.refIsARN)
	}
	return kinds
}

// recorded are the types of which only the names count here. The verbs of an ARN are region, account and name.
var recorded = map[string]struct {
	name, arn string
	refIsARN  bool
}{
	"AWS::CDK::Metadata":         {},
	"AWS::CloudWatch::Alarm":     {"AlarmName", "arn:aws:cloudwatch:%s:%s:alarm:%s", false},
	"AWS::CloudWatch::Dashboard": {"DashboardName", "", false},
	"AWS::Logs::LogGroup":        {"LogGroupName", "arn:aws:logs:%s:%s:log-group:%s:*", false},
	"AWS::Logs::MetricFilter":    {"FilterName", "", false},
	"AWS::SNS::Subscription":     {"", "", false},
	"AWS::SNS::Topic":            {"TopicName", "arn:aws:sns:%s:%s:%s", true},
	"AWS::SNS::TopicPolicy":      {"", "", false},
	"AWS::SQS::QueuePolicy":      {"", "", false},
}

// errGone means that a request names something that does not exist.
var errGone = errors.New("does not exist")
