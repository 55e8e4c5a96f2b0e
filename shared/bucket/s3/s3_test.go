package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
)

// An answer is what S3, or something on the way to it, says to one request.
type answer func(http.ResponseWriter)

// refusal is S3's own form of an error.
func refusal(status int, code string, headers ...string) answer {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<Error><Code>%s</Code><Message>a message</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>", code)
	}
}

func page(status int, body string) answer {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// object answers with more or less than it announces.
func object(size, length int) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("ETag", `"abc"`)
		w.Header().Set("Content-Length", fmt.Sprint(length))
		_, _ = w.Write(make([]byte, size))
	}
}

// endless answers until nobody listens any more.
func endless(w http.ResponseWriter) {
	w.Header().Set("ETag", `"abc"`)
	for {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

// cut ends the connection without a word: the request may have been carried out.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

var wrongRegion = map[string]answer{
	"redirect":         refusal(http.StatusMovedPermanently, "PermanentRedirect", "x-amz-bucket-region", "us-west-2"),
	"malformed header": refusal(http.StatusBadRequest, "AuthorizationHeaderMalformed", "x-amz-bucket-region", "us-west-2"),
}

// A verdict is the decision that an answer must lead to (nil for an error of no kind), and what the error must say.
type verdict struct {
	answer answer
	want   error
	says   string
}

var always = map[string]verdict{
	"no bucket":            {refusal(404, "NoSuchBucket"), nil, "there is no bucket documents (looked for in region eu-central-1)"},
	"denied":               {refusal(403, "AccessDenied"), nil, "s3:ListBucket"},
	"other key":            {refusal(403, "SignatureDoesNotMatch"), nil, "SignatureDoesNotMatch"},
	"redirect, no region":  {refusal(301, "PermanentRedirect"), nil, "not in region eu-central-1"},
	"other location":       {refusal(400, "IllegalLocationConstraintException"), nil, "not in region eu-central-1"},
	"redirect":             {wrongRegion["redirect"], nil, "in region us-west-2 and was looked for in eu-central-1"},
	"malformed header":     {wrongRegion["malformed header"], nil, "in region us-west-2 and was looked for in eu-central-1"},
	"404 of nobody":        {page(404, ""), nil, ""},
	"404 of a proxy":       {page(404, "<html>no such host</html>"), nil, ""},
	"409 of another cause": {refusal(409, "OperationAborted"), nil, "OperationAborted"},
	"busy":                 {refusal(503, "SlowDown"), nil, "SlowDown"},
	"broken":               {refusal(500, "InternalError"), nil, "InternalError"},
	"no ETag":              {page(200, ""), nil, "no ETag"},
	"connection cut":       {cut, nil, ""},
}

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]verdict{
		"no object":    {refusal(404, "NoSuchKey"), bucket.ErrNotFound, "s3://documents/prod/openid/jwks"},
		"precondition": {refusal(412, "PreconditionFailed"), nil, ""},
		"truncated":    {object(10, 100), nil, "the body: "},
		"too large":    {object(bucket.MaxBody+1, bucket.MaxBody+1), nil, "over 8388608 bytes"},
		"without end":  {endless, nil, "over 8388608 bytes"},
	}
	runCases(t, cases, func(b *s3.Bucket) (bucket.Version, error) {
		got, version, err := b.Get(t.Context(), "prod/openid/jwks")
		if err != nil && (got.Body != nil || got.ContentType != "") {
			return version, errors.New("an object comes with the error")
		}
		return version, err
	})
}

func TestPutAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]verdict{
		"another version":   {refusal(412, "PreconditionFailed"), bucket.ErrConflict, "s3://documents/prod/openid/jwks"},
		"a write meanwhile": {refusal(409, "ConditionalRequestConflict"), bucket.ErrConflict, "ConditionalRequestConflict"},
		"412 of a proxy":    {page(412, "<html>no</html>"), bucket.ErrConflict, ""},
		"no object":         {refusal(404, "NoSuchKey"), bucket.ErrConflict, "NoSuchKey"},
	}
	for _, seen := range []bucket.Version{bucket.Absent, `"abc"`} {
		runCases(t, cases, func(b *s3.Bucket) (bucket.Version, error) {
			return b.Put(t.Context(), "prod/openid/jwks", text("{}"), seen)
		})
	}
}

func runCases(t *testing.T, own map[string]verdict, call func(*s3.Bucket) (bucket.Version, error)) {
	t.Helper()
	for _, cases := range []map[string]verdict{own, always} {
		for name, c := range cases {
			stub, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { c.answer(w) })
			version, err := call(stub)
			if err == nil || version != bucket.Absent || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %q, %v; want an error that says %q", name, version, err, c.says)
			}
			for _, sentinel := range []error{bucket.ErrNotFound, bucket.ErrConflict, bucket.ErrName, bucket.ErrObject} {
				if errors.Is(err, sentinel) != errors.Is(c.want, sentinel) {
					t.Errorf("%s: %v; is it %q: %t", name, err, sentinel.Error(), errors.Is(err, sentinel))
				}
			}
		}
	}
}

// TestLostAnswer: what was stored although its answer was lost is not reported as somebody else's, and the next read finds it.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, seen := range []bucket.Version{bucket.Absent, `"0"`} {
		var stored atomic.Bool
		stub, puts := serve(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.Method == http.MethodGet && !stored.Load():
				refusal(404, "NoSuchKey")(w) // a connection is open now, that a careless client would repeat itself on
			case r.Method == http.MethodGet:
				w.Header().Set("ETag", `"1"`)
				fmt.Fprint(w, "{}")
			case stored.Swap(true):
				refusal(412, "PreconditionFailed")(w)
			default:
				cut(w)
			}
		})
		if _, _, err := stub.Get(t.Context(), "name"); !errors.Is(err, bucket.ErrNotFound) {
			t.Fatal(err)
		}
		_, err := stub.Put(t.Context(), "name", text("{}"), seen)
		if err == nil || errors.Is(err, bucket.ErrConflict) || puts.Load() != 1 {
			t.Errorf("seen %q: %v after %d writes, want an unclear answer after one", seen, err, puts.Load())
		}
		if got, version, err := stub.Get(t.Context(), "name"); err != nil || string(got.Body) != "{}" || version != `"1"` {
			t.Errorf("seen %q: Get = %q, %q, %v", seen, got.Body, version, err)
		}
	}
}

// TestReadsAreRepeated: a read that failed for a moment is nothing to report.
func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	stub, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			refusal(503, "SlowDown")(w)
			return
		}
		object(2, 2)(w)
	})
	if got, version, err := stub.Get(t.Context(), "name"); err != nil || len(got.Body) != 2 || version != `"abc"` {
		t.Errorf("Get = %d bytes, %q, %v", len(got.Body), version, err)
	}
}

// TestSilence: who never gets an answer can give up.
func TestSilence(t *testing.T) {
	t.Parallel()
	stub, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := stub.Get(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: %v", err)
	}
	if _, err := stub.Put(ctx, "name", text("{}"), bucket.Absent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
}

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

// serve returns a driver whose requests are answered so, and how many writes there were.
func serve(t *testing.T, respond http.HandlerFunc) (*s3.Bucket, *atomic.Int32) {
	t.Helper()
	puts := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts.Add(1)
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
	return opened, puts
}

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "application/json"}
}
