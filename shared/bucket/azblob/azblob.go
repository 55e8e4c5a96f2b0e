// Package azblob is a bucket in Azure Blob Storage: one container.
//
// # What it needs
//
// An identity with the data actions .../containers/blobs/read and .../containers/blobs/write on the container, in full
// Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read and .../write. For blobs that are only created, as a log's records
// are, .../blobs/add/action does in the place of write. A custom role of these is enough, and gives no right to delete; the built-in Storage
// Blob Data Contributor does. Credentials and transport are the client's.
//
// # Versions
//
// A version is the blob's ETag. Azure makes a new one for every write, also for one that changes nothing.
//
// # Answers that are lost
//
// A Put is sent once. If Azure stored a blob and its answer was lost, the same request again would be refused, and the caller told that
// nothing was written. So the lost answer is an error like any other: read again. Only what Azure refused for certain, in its own words, is
// ErrConflict: BlobAlreadyExists (409, of a creation), ConditionNotMet (412) and, of an update, BlobNotFound. The same statuses also stand
// for what no retry cures, a lease or an immutable blob or a container that is being deleted, and then they are errors with a remedy.
// Who may only create is denied what exists already (403): so a creation that is denied is ErrConflict if the blob can be read.
package azblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// patience bounds a call, the SDK's repetitions of a Get included. Azure takes some hundredths of a second.
const patience = 20 * time.Second

// Bucket is one container. It implements bucket.Bucket.
type Bucket struct {
	client *container.Client
	name   string // host and path of its URL, for people to read
}

var _ bucket.Bucket = (*Bucket)(nil)

// containerName has 3 to 63 characters.
var containerName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// website is the container behind a static website.
const website = "$web"

// New makes a driver; it asks no network. The error is about the container's URL.
func New(client *container.Client) (*Bucket, error) {
	address, err := url.Parse(client.URL())
	if err != nil {
		return nil, fmt.Errorf("container URL: %w", err)
	}
	if name := path.Base(address.Path); name != website && (!containerName.MatchString(name) || len(name) < 3 || len(name) > 63) {
		return nil, fmt.Errorf("container %q of %s: want 3 to 63 lower-case letters, digits and single inner hyphens, or $web", name, address.Host)
	}
	return &Bucket{client: client, name: address.Host + address.Path}, nil
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
		return bucket.Object{}, bucket.Absent, fmt.Errorf("read %s/%s: %w", b.name, name, b.explain(err, notFound))
	}
	return object, version, nil
}

func (b *Bucket) read(ctx context.Context, name string) (bucket.Object, bucket.Version, error) {
	answer, err := b.client.NewBlobClient(name).DownloadStream(ctx, nil)
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	defer answer.Body.Close()
	body, err := bucket.ReadBody(answer.Body)
	if err != nil {
		return bucket.Object{}, bucket.Absent, err
	}
	object := bucket.Object{Body: body, ContentType: value(answer.ContentType), CacheControl: value(answer.CacheControl)}
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
	if seen == bucket.Absent && bloberror.HasCode(err, unauthorizedBlobOverwrite, bloberror.AuthorizationPermissionMismatch) {
		if _, _, missing := b.read(ctx, name); missing == nil {
			return bucket.Absent, fmt.Errorf("write %s/%s: %w: it exists, and may not be overwritten", b.name, name, bucket.ErrConflict)
		}
	}
	if err != nil {
		return bucket.Absent, fmt.Errorf("write %s/%s: %w", b.name, name, b.explain(err, conflict))
	}
	return version, nil
}

func (b *Bucket) write(ctx context.Context, name string, object bucket.Object, seen bucket.Version) (bucket.Version, error) {
	options := &blockblob.UploadOptions{
		HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: &object.ContentType},
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: only(seen)},
	}
	if object.CacheControl != "" {
		options.HTTPHeaders.BlobCacheControl = &object.CacheControl
	}
	body := streaming.NopCloser(bytes.NewReader(object.Body))
	answer, err := b.client.NewBlockBlobClient(name).Upload(once(ctx), body, options)
	if err != nil {
		return bucket.Absent, err
	}
	return versionOf(answer.ETag)
}

// only is the condition that a blob is as it was seen.
func only(seen bucket.Version) *blob.ModifiedAccessConditions {
	if seen == bucket.Absent {
		return &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}
	}
	return &blob.ModifiedAccessConditions{IfMatch: to.Ptr(azcore.ETag(seen))}
}

// once keeps the SDK from repeating a write; see the package's comment.
func once(ctx context.Context) context.Context {
	return policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: -1})
}

// versionOf refuses an answer that would make the next write a creation, or an update of whatever there is.
func versionOf(tag *azcore.ETag) (bucket.Version, error) {
	if tag == nil || *tag == "" || *tag == azcore.ETagAny {
		return bucket.Absent, errors.New("the answer has no ETag: is the endpoint Azure Blob Storage?")
	}
	return bucket.Version(*tag), nil
}

func value(header *string) string {
	if header == nil {
		return ""
	}
	return *header
}
