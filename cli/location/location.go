// Package location opens the place where a publisher keeps its state and its log, to read it: the directory of a standalone publisher, or the private bucket
// of one in a cloud. What it returns can't write.
package location

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
)

var (
	// ErrPlace means that a text names no place.
	ErrPlace = errors.New("want a directory, s3://BUCKET, gs://BUCKET or https://ACCOUNT.blob.core.windows.net/CONTAINER")
	// ErrNoData means that a directory is not one of a publisher.
	ErrNoData = errors.New("holds no publisher's data")
)

// Reader reads objects, as a bucket.Bucket does.
type Reader interface {
	Get(ctx context.Context, name string) (bucket.Object, bucket.Version, error)
}

// readOnly hides the other method of a bucket.
type readOnly struct{ Reader }

// InCloud reports whether a text names a bucket of a cloud, or is meant to.
func InCloud(text string) bool { return strings.Contains(text, "://") }

// Check is ErrPlace if a text names no place. It asks nobody.
func Check(text string) error {
	if !InCloud(text) {
		if text == "" {
			return ErrPlace
		}
		return nil
	}
	if u, err := url.Parse(text); err == nil && u.Host != "" && u.User == nil && u.Fragment == "" && fits(u) {
		return nil
	}
	visible, _, _ := strings.Cut(text, "?") // what follows may be a secret
	return fmt.Errorf("%.120q: %w, and nothing after it but ?region=REGION for S3", visible, ErrPlace)
}

// fits reports whether path and query are those that the scheme has.
func fits(u *url.URL) bool {
	switch u.Scheme {
	case "s3":
		return u.Path == "" && (u.RawQuery == "" || len(u.Query()) == 1 && u.Query().Get("region") != "")
	case "gs":
		return u.Path == "" && u.RawQuery == ""
	case "https":
		return u.RawQuery == "" && len(u.Path) > 1 && !strings.HasSuffix(u.Path, "/") && ofAzure(u)
	}
	return false
}

// ofAzure reports whether a host is of Azure's storage, public or sovereign, or its emulator on this machine: an access token for every storage account that
// the person may read goes there.
func ofAzure(u *url.URL) bool {
	if address, err := netip.ParseAddr(u.Hostname()); err == nil {
		return address.IsLoopback()
	}
	return slices.ContainsFunc([]string{".blob.core.windows.net", ".blob.core.usgovcloudapi.net", ".blob.core.chinacloudapi.cn", ".blob.storage.azure.net"}, func(zone string) bool {
		return strings.HasSuffix(u.Host, zone)
	})
}

// Open makes a reader of a place, with the credentials that the cloud's own tools would use. A cloud is asked at the first Get; a directory must be there. The
// errors are ErrPlace, ErrNoData and those of logins.
func Open(ctx context.Context, text string) (Reader, error) {
	if err := Check(text); err != nil {
		return nil, err
	}
	u, err := url.Parse(text)
	switch {
	case !InCloud(text):
		return openDirectory(text)
	case err != nil:
		return nil, err
	case u.Scheme == "s3":
		return openS3(ctx, u)
	case u.Scheme == "gs":
		return openGCS(ctx, u.Host)
	}
	return openBlob(text)
}

func openDirectory(text string) (Reader, error) {
	private := filepath.Join(text, "private")
	if _, err := os.Stat(private); err != nil {
		return nil, fmt.Errorf("%s %w: %w", text, ErrNoData, err)
	}
	b, err := dir.Open(private)
	return readOnly{b}, err
}

func openS3(ctx context.Context, u *url.URL) (Reader, error) {
	settings, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS's settings: %w", err)
	}
	if region := u.Query().Get("region"); region != "" {
		settings.Region = region
	}
	if settings.Region == "" {
		return nil, fmt.Errorf("s3://%s: its region is not known: say s3://%s?region=REGION, or set AWS_REGION", u.Host, u.Host)
	}
	b, err := s3.New(awss3.NewFromConfig(settings), u.Host)
	return readOnly{b}, err
}

func openGCS(ctx context.Context, name string) (Reader, error) {
	client, err := gcs.NewClient(ctx, option.WithScopes(storage.ScopeReadOnly))
	if err != nil {
		return nil, err
	}
	b, err := gcs.New(client, name)
	return readOnly{b}, err
}

func openBlob(address string) (Reader, error) {
	login, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, fmt.Errorf("no login for Azure: %w: az login", err)
	}
	client, err := container.NewClient(address, login, &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry:     policy.RetryOptions{RetryDelay: 300 * time.Millisecond, MaxRetryDelay: 3 * time.Second},
		Telemetry: policy.TelemetryOptions{ApplicationID: "kube-iam-assume"},
	}})
	if err != nil {
		return nil, err
	}
	b, err := azblob.New(client)
	return readOnly{b}, err
}
