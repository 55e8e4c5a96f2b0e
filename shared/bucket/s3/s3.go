// Package s3 keeps objects in an Amazon S3 bucket.
//
// A version is the object's ETag, which is a hash of the content. The role needs s3:GetObject and s3:PutObject on the objects, and
// s3:ListBucket on the bucket: without it S3 says "denied" of an object that does not exist. Region, credentials and endpoint are the
// SDK's own settings.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// Bucket is one S3 bucket. It implements bucket.Bucket.
type Bucket struct {
	client *s3.Client
	name   string
}

// A bucket whose name has a dot does not fit the certificate of its own host.
var bucketName = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{1,61}[a-z0-9]$`)

// New makes a driver. It asks no network. The error names what is wrong with the bucket's name.
func New(client *s3.Client, name string) (*Bucket, error) {
	if !bucketName.MatchString(name) {
		return nil, fmt.Errorf("bucket %q: want 3 to 63 lower-case letters, digits and inner hyphens", name)
	}
	return &Bucket{client: client, name: name}, nil
}

// Get implements bucket.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if err := bucket.CheckName(name); err != nil {
		return bucket.Object{}, "", err
	}
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &name})
	if err != nil {
		return bucket.Object{}, "", b.explain("s3:GetObject", name, err, map[string]error{"NoSuchKey": bucket.ErrNotFound})
	}
	defer out.Body.Close()
	body, err := io.ReadAll(io.LimitReader(out.Body, bucket.MaxBody+1))
	switch {
	case err != nil:
		return bucket.Object{}, "", b.explain("s3:GetObject", name, err, nil)
	case len(body) > bucket.MaxBody:
		return bucket.Object{}, "", fmt.Errorf("s3://%s/%s has over %d bytes: not an object of this project", b.name, name, bucket.MaxBody)
	case aws.ToString(out.ETag) == "":
		return bucket.Object{}, "", fmt.Errorf("s3://%s/%s was answered without an ETag", b.name, name)
	}
	object := bucket.Object{Body: body, ContentType: aws.ToString(out.ContentType), CacheControl: aws.ToString(out.CacheControl)}
	return object, bucket.Version(*out.ETag), nil
}

// Put implements bucket.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if err := errors.Join(bucket.CheckName(name), bucket.CheckObject(object)); err != nil {
		return "", err
	}
	in := &s3.PutObjectInput{Bucket: &b.name, Key: &name, Body: bytes.NewReader(object.Body), ContentType: &object.ContentType}
	if object.CacheControl != "" {
		in.CacheControl = &object.CacheControl
	}
	if seen == bucket.Absent {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(string(seen))
	}
	out, err := b.client.PutObject(ctx, in, once)
	if err != nil {
		return "", b.explain("s3:PutObject", name, err, lost)
	}
	if aws.ToString(out.ETag) == "" {
		return "", fmt.Errorf("s3://%s/%s was written and answered without an ETag", b.name, name)
	}
	return bucket.Version(*out.ETag), nil
}

// once keeps the SDK from writing again: if the first write was stored and only its answer was lost, the second would be refused,
// and that would be taken for a race lost to somebody else.
func once(o *s3.Options) { o.Retryer = aws.NopRetryer{} }

// lost are the ways in which S3 says that the object is not the one that was seen: another version, another write at the
// same moment, or no object to replace.
var lost = map[string]error{
	"PreconditionFailed":         bucket.ErrConflict,
	"ConditionalRequestConflict": bucket.ErrConflict,
	"NoSuchKey":                  bucket.ErrConflict,
}

// explain says what failed and what would help.
func (b *Bucket) explain(action, name string, err error, known map[string]error) error {
	code, status := "", 0
	var api smithy.APIError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		status = response.HTTPStatusCode()
	}
	if meaning, ok := known[code]; ok {
		return fmt.Errorf("s3://%s/%s: %w", b.name, name, meaning)
	}
	what := fmt.Sprintf("%s of s3://%s/%s", action, b.name, name)
	region := b.client.Options().Region
	switch {
	case code == "NoSuchBucket":
		return fmt.Errorf("%s: there is no such bucket in region %s: %w", what, region, err)
	case code == "PermanentRedirect" || code == "AuthorizationHeaderMalformed" || code == "IllegalLocationConstraintException" || status == http.StatusMovedPermanently:
		return fmt.Errorf("%s: the bucket is not in region %s: run where the bucket is, or set AWS_REGION: %w", what, region, err)
	case status == http.StatusForbidden:
		return fmt.Errorf("%s was denied: the role needs s3:GetObject and s3:PutObject on the object, and s3:ListBucket on the bucket: %w", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
