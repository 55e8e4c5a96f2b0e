package aws_test

import (
	"net/http"
	"strings"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws"
)

// TestS3 finds the server by the SDK's own variables, and holds what the tests of others rely on.
func TestS3(t *testing.T) {
	server := aws.StartS3(t)
	for _, variable := range server.Environment() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	settings, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := awss3.NewFromConfig(settings)
	for name, versions := range map[string]int{"plain": 1, "versioned": 2} {
		server.CreateBucket(t, name, versions > 1)
		for _, body := range []string{"one", "two"} {
			_, err := client.PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &name, Key: awssdk.String("a"), Body: strings.NewReader(body)})
			if err != nil {
				t.Fatal(err)
			}
		}
		listing, err := client.ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: &name})
		if err != nil || len(listing.Versions) != versions {
			t.Errorf("%s: %d versions, %v; want %d", name, len(listing.Versions), err, versions)
		}
		place, err := client.GetBucketLocation(t.Context(), &awss3.GetBucketLocationInput{Bucket: &name})
		if err != nil || place.LocationConstraint != types.BucketLocationConstraintEuCentral1 {
			t.Errorf("%s: is in %v, %v", name, place, err)
		}
		response, err := http.Get(server.Endpoint + "/" + name + "/a")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: a stranger is answered %s", name, response.Status)
		}
	}
	t.Setenv("AWS_SECRET_ACCESS_KEY", "guessed")
	if settings, err = config.LoadDefaultConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := awss3.NewFromConfig(settings).ListBuckets(t.Context(), &awss3.ListBucketsInput{}); codeOf(err) != "SignatureDoesNotMatch" {
		t.Errorf("a guessed secret: %v", err)
	}
}
