package s3_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
)

// refusal is S3's own form of an error.
func refusal(status int, code string, headers ...string) buckettest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>a message</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>", code)
	}
}

const etag = `"abc"`

var (
	wire = buckettest.Wire{
		Serve: serve, Version: etag,
		Found:   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", etag); fmt.Fprint(w, "{}") },
		Missing: refusal(404, "NoSuchKey"), Stale: refusal(412, "PreconditionFailed"), Busy: refusal(503, "SlowDown"),
	}
	wrongRegion = map[string]buckettest.Answer{
		"redirect":         refusal(http.StatusMovedPermanently, "PermanentRedirect", "x-amz-bucket-region", "us-west-2"),
		"malformed header": refusal(http.StatusBadRequest, "AuthorizationHeaderMalformed", "x-amz-bucket-region", "us-west-2"),
	}
)

var always = map[string]buckettest.Verdict{
	"no bucket":            buckettest.Leads(refusal(404, "NoSuchBucket"), nil, "there is no bucket documents (looked for in region eu-central-1)"),
	"denied":               buckettest.Leads(refusal(403, "AccessDenied"), nil, "s3:ListBucket"),
	"other key":            buckettest.Leads(refusal(403, "SignatureDoesNotMatch"), nil, "SignatureDoesNotMatch"),
	"redirect, no region":  buckettest.Leads(refusal(301, "PermanentRedirect"), nil, "not in region eu-central-1"),
	"other location":       buckettest.Leads(refusal(400, "IllegalLocationConstraintException"), nil, "not in region eu-central-1"),
	"redirect":             buckettest.Leads(wrongRegion["redirect"], nil, "in region us-west-2 and was looked for in eu-central-1"),
	"malformed header":     buckettest.Leads(wrongRegion["malformed header"], nil, "in region us-west-2 and was looked for in eu-central-1"),
	"404 of nobody":        buckettest.Leads(buckettest.Page(404, ""), nil, ""),
	"404 of a proxy":       buckettest.Leads(buckettest.Page(404, "<html>no such host</html>"), nil, ""),
	"409 of another cause": buckettest.Leads(refusal(409, "OperationAborted"), nil, "OperationAborted"),
	"busy":                 buckettest.Leads(refusal(503, "SlowDown"), nil, "SlowDown"),
	"broken":               buckettest.Leads(refusal(500, "InternalError"), nil, "InternalError"),
	"no ETag":              buckettest.Leads(buckettest.Page(200, ""), nil, "no ETag"),
	"connection cut":       buckettest.Leads(buckettest.Cut, nil, ""),
}

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]buckettest.Verdict{
		"no object":    buckettest.Leads(refusal(404, "NoSuchKey"), bucket.ErrNotFound, "s3://documents/prod/openid/jwks"),
		"precondition": buckettest.Leads(refusal(412, "PreconditionFailed"), nil, ""),
		"truncated":    buckettest.Leads(buckettest.Content(etag, 10, 100), nil, "the body: "),
		"too large":    buckettest.Leads(buckettest.Content(etag, bucket.MaxBody+1, bucket.MaxBody+1), nil, "over 8388608 bytes"),
		"without end":  buckettest.Leads(buckettest.Endless(etag), nil, "over 8388608 bytes"),
	}
	wire.Judged(t, cases, buckettest.Get)
	wire.Judged(t, always, buckettest.Get)
}

func TestPutAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]buckettest.Verdict{
		"another version":   buckettest.Leads(refusal(412, "PreconditionFailed"), bucket.ErrConflict, "s3://documents/prod/openid/jwks"),
		"a write meanwhile": buckettest.Leads(refusal(409, "ConditionalRequestConflict"), bucket.ErrConflict, "ConditionalRequestConflict"),
		"412 of a proxy":    buckettest.Leads(buckettest.Page(412, "<html>no</html>"), bucket.ErrConflict, ""),
		"no object":         buckettest.Leads(refusal(404, "NoSuchKey"), bucket.ErrConflict, "NoSuchKey"),
	}
	for _, seen := range []bucket.Version{bucket.Absent, etag} {
		wire.Judged(t, cases, buckettest.Put(seen))
		wire.Judged(t, always, buckettest.Put(seen))
	}
}

func TestWire(t *testing.T) { wire.Run(t) }

func TestBucketNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"oidc-111122223333-eu-central-1-an": true, "abc": true, strings.Repeat("a", 63): true,
		"": false, "ab": false, strings.Repeat("a", 64): false, "with.dot": false, "Upper": false, "-a-b": false, "a-b-": false, "a/b": false,
	} {
		if _, err := s3.New(awss3.New(awss3.Options{}), name); (err == nil) != good {
			t.Errorf("New(%q): %v", name, err)
		}
	}
}

// serve returns a driver whose requests are answered so. It holds every write to one condition.
func serve(t testing.TB, respond http.HandlerFunc) bucket.Bucket {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			if (r.Header.Get("If-Match") == "") == (r.Header.Get("If-None-Match") == "") {
				t.Errorf("a write without one condition: %v", r.Header)
			}
		}
		respond(w, r)
	}))
	t.Cleanup(server.Close)
	atOnce := func(options *retry.StandardOptions) {
		options.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	}
	opened, err := s3.New(awss3.New(awss3.Options{
		Region: "eu-central-1", BaseEndpoint: aws.String(server.URL), Retryer: retry.NewStandard(atOnce),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}), "documents")
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
