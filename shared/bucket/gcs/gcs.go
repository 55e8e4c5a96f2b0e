// Package gcs is a bucket in Google Cloud Storage.
//
// # What it needs
//
// A bucket with uniform bucket-level access (no ACL is ever read or written), and a service account with these permissions,
// here with why, because the predefined role that has them all (roles/storage.objectUser) has more:
//
//   - storage.objects.get and storage.objects.create on the objects.
//   - storage.objects.list on the bucket. Without it Cloud Storage answers "denied" (403) for an object that does not exist,
//     which this driver does not take for "does not exist".
//   - storage.objects.delete on what is written more than once, because replacing an object deletes the one before. Not on the
//     log: an IAM condition on the objects' names keeps it create-only. To create what exists is then refused as denied; this
//     driver looks whether the object is there, and says ErrConflict.
//
// The least is a custom role with get, create and list on the bucket, and one with delete under the condition
// resource.name.startsWith("projects/_/buckets/BUCKET/objects/state/"); or, on the documents bucket, on all of it. Credentials
// are the SDK's own (Application Default Credentials). So is STORAGE_EMULATOR_HOST, which leads to a local server.
//
// # Versions
//
// A version is the object's generation, a number that each write raises and that never returns.
//
// # Reads
//
// An object that strangers may read is cached by Google itself for as long as its Cache-Control says, and Google says that such
// objects are not strongly consistent. Metadata are. So Get reads the metadata, and then the content of that very generation,
// which no cache can have wrong.
//
// # Answers that are lost
//
// A Put is sent once, although the SDK would repeat it. If Cloud Storage stored an object and its answer was lost, the same
// request again would be refused, and the caller told that nothing was written. So the lost answer is an error like any other:
// read again. Only what Cloud Storage refused for certain, with 412, is ErrConflict. One object takes about one write per
// second; beyond that Cloud Storage answers 429, which is such an error, too: nothing is wrong with the version, and the caller's
// own next attempt comes later. Reads are repeated by the SDK, a few times.
package gcs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"cloud.google.com/go/storage"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

const (
	// patience bounds a call, the SDK's repetitions of a Get included. Cloud Storage takes a tenth of a second.
	patience = 20 * time.Second

	attempts = 4 // at each request of a Get, within some two seconds; the SDK's own are without end
)

var backoff = gax.Backoff{Initial: 200 * time.Millisecond, Max: 2 * time.Second, Multiplier: 2}

// Bucket is one Cloud Storage bucket. It implements bucket.Bucket.
type Bucket struct {
	handle *storage.BucketHandle
	name   string
}

var _ bucket.Bucket = (*Bucket)(nil)

// Names with a dot are domains, which others may have to verify; names that begin with "goog" are refused by Google.
var bucketName = regexp.MustCompile(`^[a-z0-9][-_a-z0-9]{1,61}[a-z0-9]$`)

// NewClient makes the client that New wants: JSON for everything, and the right to objects only. It looks for credentials, but
// asks no bucket.
func NewClient(ctx context.Context, options ...option.ClientOption) (*storage.Client, error) {
	options = append([]option.ClientOption{storage.WithJSONReads(), option.WithScopes(storage.ScopeReadWrite)}, options...)
	client, err := storage.NewClient(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("a client of Cloud Storage (outside Google Cloud, set GOOGLE_APPLICATION_CREDENTIALS): %w", err)
	}
	return client, nil
}

// New makes a driver; it asks no network. The error is about the bucket's name.
func New(client *storage.Client, name string) (*Bucket, error) {
	if !bucketName.MatchString(name) {
		return nil, fmt.Errorf("bucket %q of Cloud Storage: want 3 to 63 lower-case letters, digits and inner hyphens or underscores", name)
	}
	reads := client.Bucket(name).Retryer(storage.WithMaxAttempts(attempts), storage.WithBackoff(backoff))
	return &Bucket{handle: reads, name: name}, nil
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
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read gs://%s/%s: %w", b.name, name, b.explain(err))
	}
	return object, version, nil
}

// read begins again if the object is replaced between its two requests, as long as the context allows.
func (b *Bucket) read(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	for {
		object, version, err := b.readOnce(ctx, name)
		if !errors.Is(err, errReplaced) || ctx.Err() != nil {
			return object, version, err
		}
	}
}

// errReplaced means that the object became another one while it was read.
var errReplaced = errors.New("the object is replaced faster than it can be read")

func (b *Bucket) readOnce(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	attributes, err := b.handle.Object(name).Attrs(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return bucket.Object{}, bucket.Absent, b.absent(ctx, name, err)
	}
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	if attributes.ContentEncoding != "" { // it would be decoded on the way, to any size
		return bucket.Object{}, bucket.Absent, fmt.Errorf("it is stored as %.20q, so it is none of this project's: move it away", attributes.ContentEncoding)
	}
	version, err := versionOf(attributes.Generation)
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	body, err := b.content(ctx, name, attributes.Generation)
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	return bucket.Object{Body: body, ContentType: attributes.ContentType, CacheControl: attributes.CacheControl}, version, nil
}

// content reads one generation as it is stored.
func (b *Bucket) content(ctx context.Context, name string, generation int64) ([]byte, error) {
	reader, err := b.handle.Object(name).Generation(generation).NewReader(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return nil, errReplaced
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // reading is over
	return bucket.ReadBody(reader)
}

// absent is what a 404 means. A bucket that does not exist, and whatever else answers on the way, say 404 too; only a bucket that
// lists its objects and has not this one makes it ErrNotFound.
func (b *Bucket) absent(ctx context.Context, name string, missing error) error {
	query := &storage.Query{Prefix: name, Projection: storage.ProjectionNoACL}
	if err := query.SetAttrSelection([]string{"Name"}); err != nil {
		return err
	}
	listed := b.handle.Objects(ctx, query)
	listed.PageInfo().MaxSize = 1
	first, err := listed.Next()
	switch {
	case errors.Is(err, iterator.Done):
		return bucket.ErrNotFound
	case err != nil:
		return fmt.Errorf("%w (before: %w)", err, missing)
	case first.Name == name: // it has just been made
		return errReplaced
	}
	return bucket.ErrNotFound
}

// Put implements bucket.Bucket.
func (b *Bucket) Put(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	if err := errors.Join(bucket.CheckName(name), bucket.CheckObject(object)); err != nil {
		return bucket.Absent, err
	}
	condition, err := conditionOf(seen)
	if err != nil {
		return bucket.Absent, fmt.Errorf("write gs://%s/%s: %w", b.name, name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	version, err := b.write(ctx, name, object, condition)
	if err != nil {
		return bucket.Absent, fmt.Errorf("write gs://%s/%s: %w", b.name, name, b.refused(ctx, name, condition, err))
	}
	return version, nil
}

func (b *Bucket) write(ctx context.Context, name string, object bucket.Object, condition storage.Conditions) (bucket.Version, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends an upload that was not finished
	writer := b.handle.Object(name).If(condition).Retryer(storage.WithPolicy(storage.RetryNever)).NewWriter(ctx)
	writer.ContentType, writer.CacheControl = object.ContentType, object.CacheControl
	writer.ChunkSize = 0 // one request: no session that the SDK would resume
	if _, err := io.Copy(writer, bytes.NewReader(object.Body)); err != nil {
		return bucket.Absent, err
	}
	if err := writer.Close(); err != nil {
		return bucket.Absent, err
	}
	return versionOf(writer.Attrs().Generation)
}

// conditionOf makes every write conditional: the zero generation is no condition to the SDK.
func conditionOf(seen bucket.Version) (storage.Conditions, error) {
	if seen == bucket.Absent {
		return storage.Conditions{DoesNotExist: true}, nil
	}
	generation, err := strconv.ParseInt(string(seen), 10, 64)
	if err != nil || generation <= 0 || strconv.FormatInt(generation, 10) != string(seen) {
		return storage.Conditions{}, fmt.Errorf("the version %.40q is none of Cloud Storage's: want a generation", seen)
	}
	return storage.Conditions{GenerationMatch: generation}, nil
}

// versionOf refuses an answer that would make the next write a creation.
func versionOf(generation int64) (bucket.Version, error) {
	if generation <= 0 {
		return bucket.Absent, errors.New("the answer has no generation: is the endpoint Cloud Storage?")
	}
	return bucket.Version(strconv.FormatInt(generation, 10)), nil
}
