package azblob_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

// refusal is Azure's own form of an error.
func refusal(status int, code string) buckettest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ms-Error-Code", code)
		w.Header().Set("X-Ms-Request-Id", "5d2c1b3a")
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>a message</Message></Error>", code)
	}
}

const etag = `"0x8D"`

var wire = buckettest.Wire{
	Serve: func(t testing.TB, respond http.HandlerFunc) bucket.Bucket {
		opened, _ := serve(t, respond)
		return opened
	},
	Version: etag,
	Found:   func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", etag); fmt.Fprint(w, "{}") },
	Missing: refusal(404, "BlobNotFound"), Stale: refusal(412, "ConditionNotMet"), Busy: refusal(503, "ServerBusy"),
}

var always = map[string]buckettest.Verdict{
	"no container":             buckettest.Leads(refusal(404, "ContainerNotFound"), nil, "create it, or correct the URL: Azure says 404 ContainerNotFound (request 5d2c1b3a)"),
	"no resource":              buckettest.Leads(refusal(404, "ResourceNotFound"), nil, "404 ResourceNotFound"),
	"404 of a proxy":           buckettest.Leads(buckettest.Page(404, "<html>no such host</html>"), nil, "not Azure Blob Storage"),
	"404 of nobody":            buckettest.Leads(buckettest.Page(404, ""), nil, "not Azure Blob Storage"),
	"no role":                  buckettest.Leads(refusal(403, "AuthorizationPermissionMismatch"), nil, "containers/blobs/read and .../write"),
	"firewall":                 buckettest.Leads(refusal(403, "AuthorizationFailure"), nil, "network rules"),
	"token of another tenant":  buckettest.Leads(refusal(401, "InvalidAuthenticationInfo"), nil, "another tenant's"),
	"expired token":            buckettest.Leads(refusal(403, "AuthenticationFailed"), nil, "the clock may be wrong"),
	"a container going away":   buckettest.Leads(refusal(409, "ContainerBeingDeleted"), nil, "is being deleted"),
	"archived":                 buckettest.Leads(refusal(409, "BlobArchived"), nil, "archive tier"),
	"409 of another cause":     buckettest.Leads(refusal(409, "PublicAccessNotPermitted"), nil, "409 PublicAccessNotPermitted"),
	"409 of nobody":            buckettest.Leads(buckettest.Page(409, ""), nil, "Azure says 409"),
	"412 of a proxy":           buckettest.Leads(buckettest.Page(412, "<html>no</html>"), nil, "Azure says 412"),
	"a lease":                  buckettest.Leads(refusal(412, "LeaseIdMissing"), nil, "break it (az storage blob lease break)"),
	"busy":                     buckettest.Leads(refusal(503, "ServerBusy"), nil, "ServerBusy"),
	"broken":                   buckettest.Leads(refusal(500, "InternalError"), nil, "InternalError"),
	"too slow":                 buckettest.Leads(refusal(500, "OperationTimedOut"), nil, "OperationTimedOut"),
	"no ETag":                  buckettest.Leads(buckettest.Page(200, ""), nil, ""),
	"connection cut":           buckettest.Leads(buckettest.Cut, nil, ""),
	"a code in the body alone": buckettest.Leads(buckettest.Page(403, "<Error><Code>AuthorizationFailure</Code></Error>"), nil, "network rules"),
}

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]buckettest.Verdict{
		"no blob":      buckettest.Leads(refusal(404, "BlobNotFound"), bucket.ErrNotFound, "/account/documents/prod/openid/jwks"),
		"precondition": buckettest.Leads(refusal(412, "ConditionNotMet"), nil, ""),
		"exists":       buckettest.Leads(refusal(409, "BlobAlreadyExists"), nil, ""),
		"no ETag":      buckettest.Leads(buckettest.Page(200, "{}"), nil, "no ETag"),
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
		"another version": buckettest.Leads(refusal(412, "ConditionNotMet"), bucket.ErrConflict, "/account/documents/prod/openid/jwks"),
		"exists":          buckettest.Leads(refusal(409, "BlobAlreadyExists"), bucket.ErrConflict, "BlobAlreadyExists"),
		"no blob":         buckettest.Leads(refusal(404, "BlobNotFound"), bucket.ErrConflict, "BlobNotFound"),
		"immutable":       buckettest.Leads(refusal(409, "BlobImmutableDueToPolicy"), nil, "immutability policy"),
		"legal hold":      buckettest.Leads(refusal(409, "BlobImmutableDueToLegalHold"), nil, "legal hold"),
		"an append blob":  buckettest.Leads(refusal(409, "InvalidBlobType"), nil, "append or page blob"),
		"no ETag":         buckettest.Leads(buckettest.Page(201, ""), nil, "no ETag"),
		"any ETag": buckettest.Leads(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("ETag", "*")
			w.WriteHeader(http.StatusCreated)
		}, nil, "no ETag"),
	}
	for _, seen := range []bucket.Version{bucket.Absent, etag} {
		wire.Judged(t, cases, buckettest.Put(seen))
		wire.Judged(t, always, buckettest.Put(seen))
	}
}

func TestWire(t *testing.T) { wire.Run(t) }

// TestMayOnlyCreate: where there is no right to overwrite, what exists is a race lost, and what does not exist a right that is missing.
func TestMayOnlyCreate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seen bucket.Version
		get  buckettest.Answer
		want error
	}{
		"it exists":                       {bucket.Absent, wire.Found, bucket.ErrConflict},
		"it does not exist":               {bucket.Absent, refusal(404, "BlobNotFound"), nil},
		"it may not be read either":       {bucket.Absent, refusal(403, "AuthorizationPermissionMismatch"), nil},
		"an update of what was seen":      {etag, wire.Found, nil},
		"a container that does not exist": {bucket.Absent, refusal(404, "ContainerNotFound"), nil},
	} {
		for _, code := range []string{"UnauthorizedBlobOverwrite", "AuthorizationPermissionMismatch"} {
			stub, puts := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					test.get(w, r)
					return
				}
				refusal(403, code)(w, r)
			})
			_, err := stub.Put(t.Context(), "name", text("{}"), test.seen)
			if err == nil || errors.Is(err, bucket.ErrConflict) != (test.want != nil) || errors.Is(err, bucket.ErrNotFound) || puts.Load() != 1 ||
				test.want == nil && !strings.Contains(err.Error(), "blobs/read and .../write") {
				t.Errorf("%s: %s: %v after %d writes, want %v", name, code, err, puts.Load(), test.want)
			}
		}
	}
}

func TestContainerNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"documents": true, "a-b": true, "abc": true, "$web": true, strings.Repeat("a", 63): true,
		"": false, "ab": false, strings.Repeat("a", 64): false, "with.dot": false, "Upper": false, "-a-b": false, "a-b-": false, "a--b": false, "$root": false,
	} {
		client, err := container.NewClientWithNoCredential("https://account.blob.core.windows.net/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := azblob.New(client); (err == nil) != good {
			t.Errorf("New(%q): %v", name, err)
		}
	}
}

// TestUnknownAccount: the name of an account is part of the host.
func TestUnknownAccount(t *testing.T) {
	t.Parallel()
	client, err := container.NewClientWithNoCredential("https://account.invalid/documents", &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry: policy.RetryOptions{MaxRetries: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := azblob.New(client)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := opened.Get(t.Context(), "name"); err == nil || !strings.Contains(err.Error(), "correct the URL") {
		t.Errorf("Get: %v", err)
	}
}

// anothersBlob: a lease is a 412, and no conflict that reading again resolves.
func anothersBlob(t *testing.T, storage *azure.Storage) {
	t.Helper()
	url := storage.CreateContainer(t, "leased", false)
	opened := open(t, url, storage.HTTPClient())
	version, err := opened.Put(t.Context(), "name", text("{}"), bucket.Absent)
	if err != nil {
		t.Fatal(err)
	}
	held, err := lease.NewBlobClient(storage.Container(t, "leased").NewBlobClient("name"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.AcquireLease(t.Context(), 60, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Put(t.Context(), "name", text("[]"), version); err == nil || errors.Is(err, bucket.ErrConflict) || !strings.Contains(err.Error(), "lease") {
		t.Errorf("Put: %v, want what to do about the lease", err)
	}
	if _, _, err := openAs(t, url, "another", storage.HTTPClient()).Get(t.Context(), "name"); err == nil || errors.Is(err, bucket.ErrNotFound) ||
		!strings.Contains(err.Error(), "AZURE_CLIENT_ID") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Get with an identity that is not assigned: %v", err)
	}
	if _, _, err := open(t, storage.ContainerURL("absent"), storage.HTTPClient()).Get(t.Context(), "name"); err == nil || errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("Get from a container that does not exist: %v, want no ErrNotFound", err)
	}
}

// serve returns a driver whose requests are answered so, and how many writes there were. It holds every request to the rights that the
// package's comment asks for: reading a blob, and writing a whole one under one condition.
func serve(t testing.TB, respond http.HandlerFunc) (*azblob.Bucket, *atomic.Int32) {
	t.Helper()
	puts := new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodPut:
			puts.Add(1)
			if (r.Header.Get("If-Match") == "") == (r.Header.Get("If-None-Match") == "") || r.Header.Get("X-Ms-Blob-Type") != "BlockBlob" {
				t.Errorf("a write without one condition, or not of a block blob: %v", r.Header)
			}
		case r.Method != http.MethodGet:
			t.Errorf("%s needs another right", r.Method)
		}
		if r.URL.RawQuery != "" {
			t.Errorf("%s with %q needs another right", r.Method, r.URL.RawQuery)
		}
		respond(w, r)
	}))
	t.Cleanup(server.Close)
	client, err := container.NewClientWithNoCredential(server.URL+"/account/documents", &container.ClientOptions{ClientOptions: azcore.ClientOptions{
		Retry: policy.RetryOptions{RetryDelay: time.Nanosecond, MaxRetryDelay: time.Nanosecond},
	}})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := azblob.New(client)
	if err != nil {
		t.Fatal(err)
	}
	return opened, puts
}

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "application/json"}
}
