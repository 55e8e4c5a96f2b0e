package exporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
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
	queueHost = regexp.MustCompile(`^sqs\.([-a-z0-9]+)\.amazonaws\.com(\.cn)?$`)
	roleARN   = regexp.MustCompile(`^arn:aws[-a-z]*:iam::[0-9]{12}:role/[-_+=,.@/A-Za-z0-9]+$`)
)

// region is what the settings and the URL say; the two must agree.
func (q SQS) region() (string, error) {
	u, err := url.Parse(q.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || len(u.Path) < 2 {
		return "", errors.New("want the queue's https URL, such as https://sqs.eu-central-1.amazonaws.com/111122223333/snapshots")
	}
	m := queueHost.FindStringSubmatch(u.Host)
	switch {
	case m == nil && q.Region == "":
		return "", fmt.Errorf("the host %s does not say its region: set region", u.Host)
	case m == nil:
		return q.Region, nil
	case q.Region != "" && q.Region != m[1]:
		return "", fmt.Errorf("its URL is in %s, region says %s: remove region", m[1], q.Region)
	}
	return m[1], nil
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

// queue puts envelopes into an SQS queue, and where that is refused goes by the webhook. After a rotation that nobody announced, AWS does not
// know the key that signs the login: only the webhook can take the snapshot that makes it known.
type queue struct {
	url     string
	client  *sqs.Client
	webhook *webhook // nil without
}

func newQueue(settings Settings, q SQS, fallback *webhook) (*queue, error) {
	region, err := q.region()
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(settings, settings.CABundle)
	if err != nil {
		return nil, err
	}
	client := awshttp.NewBuildableClient().WithTimeout(sendTimeout).WithTransportOptions(func(t *http.Transport) {
		t.Proxy, t.TLSClientConfig, t.MaxResponseHeaderBytes = transport.Proxy, transport.TLSClientConfig, transport.MaxResponseHeaderBytes
	})
	// Nothing of the machine may log in for the exporter: no environment, no files, no metadata service.
	loaded, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(region), config.WithHTTPClient(client),
		config.WithCredentialsProvider(aws.AnonymousCredentials{}), config.WithSharedConfigFiles([]string{}), config.WithSharedCredentialsFiles([]string{}))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's settings: %w", err)
	}
	file := q.TokenFile
	if file == "" {
		file = DefaultSQSTokenFile
	}
	login := stscreds.NewWebIdentityRoleProvider(sts.NewFromConfig(loaded), q.RoleARN, stscreds.IdentityTokenFile(file),
		func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = "kube-iam-assume." + settings.Cluster })
	u, err := url.Parse(q.URL)
	if err != nil {
		return nil, err
	}
	return &queue{url: q.URL, webhook: fallback, client: sqs.NewFromConfig(loaded, func(o *sqs.Options) {
		o.Credentials = aws.NewCredentialsCache(login)
		o.BaseEndpoint = aws.String(u.Scheme + "://" + u.Host)
		o.RetryMaxAttempts = 2 // the worker tries again, with a fresh signature
	})}, nil
}

func (q *queue) send(ctx context.Context, envelope []byte) (answer, error) {
	limited, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := q.client.SendMessage(limited, &sqs.SendMessageInput{QueueUrl: &q.url, MessageBody: aws.String(string(envelope))})
	if err == nil {
		return answer{Queued: true}, nil
	}
	err = unqueued(err)
	if q.webhook == nil || ctx.Err() != nil {
		return answer{}, err
	}
	a, sent := q.webhook.send(ctx, envelope)
	a.Detour = err
	return a, sent
}

func (q *queue) close() {
	if q.webhook != nil {
		q.webhook.close()
	}
}

// unqueued says why the queue did not take a snapshot, and what would help. AWS's own words follow; no token is in them.
func unqueued(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("the queue can't be reached: %w", withoutURL(err))
	}
	remedy, known := queueRemedies[api.ErrorCode()]
	if !known {
		remedy = "see the role and the queue"
	}
	return fmt.Errorf("the queue refused: %s: %s: %s", api.ErrorCode(), cut(api.ErrorMessage(), 200), remedy)
}

// queueRemedies are what to do about the codes of STS and SQS.
var queueRemedies = map[string]string{
	"InvalidIdentityToken":  "AWS does not accept the exporter's token: is its key published, its audience sts.amazonaws.com, and the identity provider's URL the issuer?",
	"ExpiredTokenException": "the exporter's token has expired: is the token file a projected volume, which the kubelet renews?",
	"ExpiredToken":          "the login has expired: correct the clock",
	"AccessDenied":          "the role does not trust this service account, or may not send: deploy the stack again",
	"AccessDeniedException": "the role may not send to the queue: deploy the stack again",
	"IDPCommunicationError": "AWS could not read the documents: look at the issuer's URL from outside",
	"QueueDoesNotExist":     "the URL is not that of the stack's output, or of another region",
}
