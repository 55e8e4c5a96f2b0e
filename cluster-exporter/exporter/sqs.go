package exporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// DefaultSQSTokenFile is where the chart mounts the token for AWS: the exporter's own, projected with the audience sts.amazonaws.com.
const DefaultSQSTokenFile = "/var/run/secrets/kube-iam-assume/sqs/token"

// SQS is a publisher's queue. The exporter logs in with its own token and stores no credential. A queue says nothing of what comes of a
// snapshot: that is in the publisher's log alone.
type SQS struct {
	URL       string `json:"url"                 yaml:"url"`
	Region    string `json:"region,omitempty"    yaml:"region"` // of the queue, if its URL does not say
	RoleARN   string `json:"roleARN"             yaml:"roleARN"`
	TokenFile string `json:"tokenFile,omitempty" yaml:"tokenFile"` // read for every login: the kubelet renews it
}

var (
	queueHost = regexp.MustCompile(`^(?:vpce-[-a-z0-9]+\.)?sqs(?:-fips)?\.([-a-z0-9]+)\.(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.aws)$`)
	awsRegion = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	roleARN   = regexp.MustCompile(`^arn:aws[-a-z]*:iam::[0-9]{12}:role/[-_+=,.@/A-Za-z0-9]+$`)
)

// region is what the settings and the URL say; the two must agree.
func (q SQS) region() (string, error) {
	u, err := url.Parse(q.URL)
	if err != nil || !private(u) || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(u.Path) < 2 {
		return "", errors.New("want the queue's https URL, such as https://sqs.eu-central-1.amazonaws.com/111122223333/snapshots")
	}
	m := queueHost.FindStringSubmatch(u.Hostname())
	switch {
	case q.Region != "" && !awsRegion.MatchString(q.Region):
		return "", fmt.Errorf("region %q: want one such as eu-central-1", q.Region)
	case m == nil && q.Region == "":
		return "", fmt.Errorf("the host %s does not say its region: set region", u.Host)
	case m == nil:
		return q.Region, nil
	case q.Region != "" && q.Region != m[1]:
		return "", fmt.Errorf("its URL is in %s, region says %s: remove region", m[1], q.Region)
	}
	return m[1], nil
}

// private reports whether nobody else can read what is sent to a URL: by https, or without leaving the machine.
func private(u *url.URL) bool {
	address, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && err == nil && address.IsLoopback()
}

func (q SQS) check(d *settings.Document, at []any, publisher string) error {
	if _, err := q.region(); err != nil {
		return d.Errorf(append(at, "url"), "queue of %q: %w", publisher, err)
	}
	if !roleARN.MatchString(q.RoleARN) {
		return d.Errorf(append(at, "roleARN"), "roleARN %q: want the role that may send to the queue, arn:aws:iam::ACCOUNT:role/NAME; the stack's output has it", q.RoleARN)
	}
	return nil
}

// sqsQueue is a queue of AWS.
type sqsQueue struct {
	url    string
	http   *http.Client
	client *sqs.Client
}

func (q SQS) open(settings Settings) (queue, error) {
	region, err := q.region()
	if err != nil {
		return nil, err
	}
	client, err := newClient(settings, settings.CABundle)
	if err != nil {
		return nil, err
	}
	loaded, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(region),
		config.WithRetryMaxAttempts(2), // the webhook waits; and the worker tries again, with a fresh signature
		config.WithCredentialsProvider(aws.AnonymousCredentials{}), config.WithSharedConfigFiles([]string{}), config.WithSharedCredentialsFiles([]string{}))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's settings: %w", err)
	}
	loaded.HTTPClient = client
	file := tokenFile(cmp.Or(q.TokenFile, DefaultSQSTokenFile))
	login := stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(loaded), q.RoleARN, webIdentity{file},
		func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = sessionName(settings.Cluster) })
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, err
	}
	return &sqsQueue{url: q.URL, http: client, client: sqs.NewFromConfig(loaded, func(o *sqs.Options) {
		o.Credentials = aws.NewCredentialsCache(login)
		if o.BaseEndpoint == nil { // the SDK's variables go before
			o.BaseEndpoint = aws.String(u.Scheme + "://" + u.Host)
		}
	})}, nil
}

// sessionName is what CloudTrail calls the exporter. STS takes 2 to 64 characters, and a cluster's ID may have 63.
func sessionName(cluster string) string {
	const most = 64
	if name := "kube-iam-assume." + cluster; len(name) <= most {
		return name
	}
	return cluster
}

// webIdentity gives the SDK the token.
type webIdentity struct{ tokenFile }

// GetIdentityToken implements stscreds.IdentityTokenRetriever.
func (w webIdentity) GetIdentityToken() ([]byte, error) {
	token, err := w.read()
	return []byte(token), err
}

func (q *sqsQueue) close() { q.http.CloseIdleConnections() }

func (q *sqsQueue) put(ctx context.Context, envelope []byte) error {
	_, err := q.client.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(string(envelope))})
	if err == nil {
		return nil
	}
	var missing tokenError
	if errors.As(err, &missing) {
		return noToken("AWS", "sts.amazonaws.com", missing.error)
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return unanswered(service(err), err)
	}
	remedy, known := sqsRemedies[api.ErrorCode()]
	if !known {
		remedy = "see the role and the queue"
	}
	return refusal{service(err), api.ErrorCode(), api.ErrorMessage()}.with(remedy)
}

// service is the one that an error is of: STS, which is asked before the queue, or SQS.
func service(err error) (name string) {
	for operation := (*smithy.OperationError)(nil); errors.As(err, &operation); err = operation.Err {
		name = operation.Service()
	}
	return name
}

// sqsRemedies are what to do about the codes of STS and SQS.
var sqsRemedies = map[string]string{
	"InvalidIdentityToken":                    "AWS does not accept the exporter's token: is its key published, its audience sts.amazonaws.com, and the identity provider's URL the issuer?",
	"ExpiredTokenException":                   "the exporter's token has expired: is the token file a projected volume, which the kubelet renews?",
	"ExpiredToken":                            "the login has expired: correct the clock",
	"AccessDenied":                            "the role does not trust this service account, or may not send: deploy the stack again",
	"AccessDeniedException":                   "the role may not send to the queue: deploy the stack again",
	"IDPCommunicationError":                   "AWS could not read the documents: look at the issuer's URL from outside",
	"QueueDoesNotExist":                       noQueue,
	"AWS.SimpleQueueService.NonExistentQueue": noQueue, // in the words of SQS's older protocol, which the SDK prefers
}

const noQueue = "the URL is not that of the stack's output, or of another region"
