// Package s3 is a bucket in Amazon S3.
//
// # What it needs
//
// A role with s3:GetObject and s3:PutObject on the objects, and s3:ListBucket on the bucket: without the latter S3 answers
// "denied" for an object that does not exist, which this driver does not take for "does not exist". Region, credentials and
// endpoint are the SDK's own settings; with AWS_ENDPOINT_URL_S3 at an IP address the SDK puts the bucket into the path by
// itself, so that a local server needs no setting of ours.
//
// # Versions
//
// A version is the object's ETag, which S3 makes from the content: content that returns brings its version back, and so does
// a write that changes the headers alone.
//
// # Answers that are lost
//
// A Put is sent once. If S3 stored an object and its answer was lost, the same request again would be refused, and the
// caller told that nothing was written. So the lost answer is an error like any other: read again. Only what S3 refused for
// certain is ErrConflict: 412 (another version), 409 ConditionalRequestConflict (another write at this moment; it may not
// have been stored yet when the caller reads again, who then meets it at its next Put) and, for an update, 404 (no object).
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// patience bounds a call, the SDK's repetitions of a Get included. S3 takes a tenth of a second.
const patience = 20 * time.Second

// Bucket is one S3 bucket. It implements bucket.Bucket.
type Bucket struct {
	client *s3.Client
	name   string
}

var _ bucket.Bucket = (*Bucket)(nil)

// A bucket whose name has a dot does not fit the certificate of its own host.
var bucketName = regexp.MustCompile(`^[a-z0-9][-a-z0-9]{1,61}[a-z0-9]$`)

// New makes a driver; it asks no network. The error is about the bucket's name.
func New(client *s3.Client, name string) (*Bucket, error) {
	if !bucketName.MatchString(name) {
		return nil, fmt.Errorf("S3 bucket %q: want 3 to 63 lower-case letters, digits and inner hyphens", name)
	}
	return &Bucket{client: client, name: name}, nil
}

// Get implements bucket.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	if err := bucket.CheckName(name); err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	object, version, err := b.read(ctx, name)
	if err != nil {
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read s3://%s/%s: %w", b.name, name, b.explain(err, notFound))
	}
	return object, version, nil
}

func (b *Bucket) read(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	answer, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: &name})
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	defer answer.Body.Close()
	body, err := bucket.ReadBody(answer.Body)
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	object := bucket.Object{Body: body, ContentType: aws.ToString(answer.ContentType), CacheControl: aws.ToString(answer.CacheControl)}
	version, err := versionOf(answer.ETag)
	return object, version, err
}

// Put implements bucket.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if err := errors.Join(bucket.CheckName(name), bucket.CheckObject(object)); err != nil {
		return bucket.Absent, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	version, err := b.write(ctx, name, object, seen)
	if err != nil {
		return bucket.Absent, fmt.Errorf("write s3://%s/%s: %w", b.name, name, b.explain(err, conflict))
	}
	return version, nil
}

func (b *Bucket) write(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	request := &s3.PutObjectInput{
		Bucket: &b.name, Key: &name,
		Body: bytes.NewReader(object.Body), ContentType: &object.ContentType,
	}
	if object.CacheControl != "" {
		request.CacheControl = &object.CacheControl
	}
	if seen == bucket.Absent {
		request.IfNoneMatch = aws.String("*")
	} else {
		request.IfMatch = aws.String(string(seen))
	}
	answer, err := b.client.PutObject(ctx, request, once)
	if err != nil {
		return bucket.Absent, err
	}
	return versionOf(answer.ETag)
}

// once keeps the SDK from repeating a write; see the package's comment.
func once(options *s3.Options) { options.Retryer = aws.NopRetryer{} }

// versionOf refuses an answer that would make the next write a creation.
func versionOf(tag *string) (bucket.Version, error) {
	if aws.ToString(tag) == "" {
		return bucket.Absent, errors.New("the answer has no ETag: is the endpoint S3?")
	}
	return bucket.Version(*tag), nil
}
