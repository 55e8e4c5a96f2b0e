package aws

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// Region is where an S3 is.
const Region = "eu-central-1"

// An S3 is a server of S3 on a loopback address: plain HTTP, one account, and a Root who may do everything.
type S3 struct {
	Endpoint string
	Root     aws.Credentials
}

// StartS3 starts a server with no bucket in it. It ends with the test; if that failed, the end of its log is in the test's
// output.
func StartS3(t testing.TB) *S3 {
	t.Helper()
	server, err := startS3(t)
	if err != nil {
		t.Fatalf("aws.StartS3: %v", err)
	}
	return server
}

func startS3(t testing.TB) (*S3, error) {
	t.Helper()
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	server := &S3{Endpoint: "http://" + address, Root: newRoot()}
	folder := t.TempDir()
	storage, err := storageFlags(folder)
	if err != nil {
		return nil, err
	}
	gateway := &gateway{name: "s3", folder: folder, root: server.Root, health: server.Endpoint}
	return server, gateway.start(t, append([]string{"--port=" + address, "--region=" + Region}, storage...))
}

// Environment has the SDK's own variables, by which another process finds the server and is Root.
func (s *S3) Environment() []string {
	return append(rootEnvironment(s.Root, Region), "AWS_ENDPOINT_URL_S3="+s.Endpoint)
}

// Client is Root's. It asks once, so that a test sees the first answer.
func (s *S3) Client() *s3.Client {
	return s3.New(s3.Options{
		Region: Region, BaseEndpoint: &s.Endpoint, Retryer: aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return s.Root, nil }),
	})
}

// CreateBucket makes a bucket, on which nobody but Root has rights.
func (s *S3) CreateBucket(t testing.TB, name string, versioned bool) {
	t.Helper()
	if err := createBucket(t.Context(), s.Client(), name, Region, versioned); err != nil {
		t.Fatal(err)
	}
}

func createBucket(ctx context.Context, client *s3.Client, name, region string, versioned bool) error {
	place := &types.CreateBucketConfiguration{LocationConstraint: types.BucketLocationConstraint(region)}
	if region == "us-east-1" { // which may not be named
		place = nil
	}
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name, CreateBucketConfiguration: place}); err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	if !versioned {
		return nil
	}
	_, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
		Bucket: &name, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	if err != nil {
		return fmt.Errorf("turn on the versions of bucket %s: %w", name, err)
	}
	return nil
}

// storageFlags makes the folders of a gateway that keeps objects as files.
func storageFlags(folder string) ([]string, error) {
	objects, versions := filepath.Join(folder, "objects"), filepath.Join(folder, "versions")
	for _, path := range []string{objects, versions} {
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder of the S3 server: %w", err)
		}
	}
	return []string{"posix", "--versioning-dir=" + versions, objects}, nil
}
