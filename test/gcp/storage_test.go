package gcp_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"github.com/kube-iam-assume/kube-iam-assume/test/gcp"
)

// What drivers and end-to-end tests rely on, beyond the contract of a bucket: conditions on the generation, and what strangers get.
func TestStorage(t *testing.T) {
	t.Parallel()
	server := gcp.StartStorage(t)
	server.CreateBucket(t, "documents", true)
	object := server.Client.Bucket("documents").Object("prod/openid/v1/jwks")
	put := func(condition storage.Conditions) error {
		writer := object.If(condition).NewWriter(t.Context())
		writer.ChunkSize, writer.ContentType, writer.CacheControl = 0, "application/json", "public, max-age=60"
		if _, err := io.WriteString(writer, "{}"); err != nil {
			return err
		}
		return writer.Close()
	}
	if err := put(storage.Conditions{DoesNotExist: true}); err != nil {
		t.Fatal(err)
	}
	for _, condition := range []storage.Conditions{{DoesNotExist: true}, {GenerationMatch: 1}} {
		answer := new(googleapi.Error)
		if err := put(condition); !errors.As(err, &answer) || answer.Code != http.StatusPreconditionFailed {
			t.Errorf("a write under %+v: %v", condition, err)
		}
	}
	response, err := http.Get(server.Endpoint + "/documents/prod/openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || string(body) != "{}" ||
		response.Header.Get("Content-Type") != "application/json" || response.Header.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("strangers get %s %v %q, %v", response.Status, response.Header, body, err)
	}
}
