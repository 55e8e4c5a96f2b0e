package azblob_test

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

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/azblob"
	"github.com/kube-iam-assume/kube-iam-assume/test/azure"
)

// An answer is what Azure, or something on the way to it, says to one request.
type answer func(http.ResponseWriter)

// refusal is Azure's own form of an error.
func refusal(status int, code string) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("X-Ms-Error-Code", code)
		w.Header().Set("X-Ms-Request-Id", "5d2c1b3a")
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>a message</Message></Error>", code)
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
		w.Header().Set("ETag", `"0x8D"`)
		w.Header().Set("Content-Length", fmt.Sprint(length))
		_, _ = w.Write(make([]byte, size))
	}
}

// endless answers until nobody listens any more.
func endless(w http.ResponseWriter) {
	w.Header().Set("ETag", `"0x8D"`)
	for {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

// cut ends the connection without a word: the request may have been carried out.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

// A verdict is the decision that an answer must lead to (nil for an error of no kind), and what the error must say.
type verdict struct {
	answer answer
	want   error
	says   string
}

var always = map[string]verdict{
	"no container":             {refusal(404, "ContainerNotFound"), nil, "create it, or correct the URL: Azure says 404 ContainerNotFound (request 5d2c1b3a)"},
	"no resource":              {refusal(404, "ResourceNotFound"), nil, "404 ResourceNotFound"},
	"404 of a proxy":           {page(404, "<html>no such host</html>"), nil, "not Azure Blob Storage"},
	"404 of nobody":            {page(404, ""), nil, "not Azure Blob Storage"},
	"no role":                  {refusal(403, "AuthorizationPermissionMismatch"), nil, "containers/blobs/read and .../write"},
	"firewall":                 {refusal(403, "AuthorizationFailure"), nil, "network rules"},
	"token of another tenant":  {refusal(401, "InvalidAuthenticationInfo"), nil, "another tenant's"},
	"expired token":            {refusal(403, "AuthenticationFailed"), nil, "the clock may be wrong"},
	"a container going away":   {refusal(409, "ContainerBeingDeleted"), nil, "is being deleted"},
	"archived":                 {refusal(409, "BlobArchived"), nil, "archive tier"},
	"409 of another cause":     {refusal(409, "PublicAccessNotPermitted"), nil, "409 PublicAccessNotPermitted"},
	"409 of nobody":            {page(409, ""), nil, "Azure says 409"},
	"412 of a proxy":           {page(412, "<html>no</html>"), nil, "Azure says 412"},
	"a lease":                  {refusal(412, "LeaseIdMissing"), nil, "break it (az storage blob lease break)"},
	"busy":                     {refusal(503, "ServerBusy"), nil, "ServerBusy"},
	"broken":                   {refusal(500, "InternalError"), nil, "InternalError"},
	"too slow":                 {refusal(500, "OperationTimedOut"), nil, "OperationTimedOut"},
	"no ETag":                  {page(200, ""), nil, ""},
	"connection cut":           {cut, nil, ""},
	"a code in the body alone": {page(403, "<Error><Code>AuthorizationFailure</Code></Error>"), nil, "network rules"},
}

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]verdict{
		"no blob":      {refusal(404, "BlobNotFound"), bucket.ErrNotFound, "/account/documents/prod/openid/jwks"},
		"precondition": {refusal(412, "ConditionNotMet"), nil, ""},
		"exists":       {refusal(409, "BlobAlreadyExists"), nil, ""},
		"no ETag":      {page(200, "{}"), nil, "no ETag"},
		"truncated":    {object(10, 100), nil, "the body: "},
		"too large":    {object(bucket.MaxBody+1, bucket.MaxBody+1), nil, "over 8388608 bytes"},
		"without end":  {endless, nil, "over 8388608 bytes"},
	}
	runCases(t, cases, func(b *azblob.Bucket) (bucket.Version, error) {
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
		"another version": {refusal(412, "ConditionNotMet"), bucket.ErrConflict, "/account/documents/prod/openid/jwks"},
		"exists":          {refusal(409, "BlobAlreadyExists"), bucket.ErrConflict, "BlobAlreadyExists"},
		"no blob":         {refusal(404, "BlobNotFound"), bucket.ErrConflict, "BlobNotFound"},
		"immutable":       {refusal(409, "BlobImmutableDueToPolicy"), nil, "immutability policy"},
		"legal hold":      {refusal(409, "BlobImmutableDueToLegalHold"), nil, "legal hold"},
		"an append blob":  {refusal(409, "InvalidBlobType"), nil, "append or page blob"},
		"no ETag":         {page(201, ""), nil, "no ETag"},
		"any ETag": {func(w http.ResponseWriter) {
			w.Header().Set("ETag", "*")
			w.WriteHeader(http.StatusCreated)
		}, nil, "no ETag"},
	}
	for _, seen := range []bucket.Version{bucket.Absent, `"0x8D"`} {
		runCases(t, cases, func(b *azblob.Bucket) (bucket.Version, error) {
			return b.Put(t.Context(), "prod/openid/jwks", text("{}"), seen)
		})
	}
}

func runCases(t *testing.T, own map[string]verdict, call func(*azblob.Bucket) (bucket.Version, error)) {
	t.Helper()
	for _, cases := range []map[string]verdict{own, always} {
		for name, c := range cases {
			stub, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { c.answer(w) })
			version, err := call(stub)
			if err == nil || version != bucket.Absent || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q, %v; want an error that says %q in one line", name, version, err, c.says)
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
	for _, lost := range map[string]answer{"cut": cut, "busy": refusal(503, "ServerBusy"), "timeout": refusal(500, "OperationTimedOut")} {
		for _, seen := range []bucket.Version{bucket.Absent, `"0"`} {
			var stored atomic.Bool
			stub, puts := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Method == http.MethodGet && !stored.Load():
					refusal(404, "BlobNotFound")(w) // a connection is open now, that a careless client would repeat itself on
				case r.Method == http.MethodGet:
					w.Header().Set("ETag", `"1"`)
					fmt.Fprint(w, "{}")
				case stored.Swap(true):
					refusal(412, "ConditionNotMet")(w)
				default:
					lost(w)
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
}

// TestMayOnlyCreate: where there is no right to overwrite, what exists is a race lost, and what does not exist a right that is missing.
func TestMayOnlyCreate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		seen bucket.Version
		get  answer
		want error
	}{
		"it exists":                       {bucket.Absent, object(2, 2), bucket.ErrConflict},
		"it does not exist":               {bucket.Absent, refusal(404, "BlobNotFound"), nil},
		"it may not be read either":       {bucket.Absent, refusal(403, "AuthorizationPermissionMismatch"), nil},
		"an update of what was seen":      {`"0x8D"`, object(2, 2), nil},
		"a container that does not exist": {bucket.Absent, refusal(404, "ContainerNotFound"), nil},
	} {
		for _, code := range []string{"UnauthorizedBlobOverwrite", "AuthorizationPermissionMismatch"} {
			stub, puts := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					test.get(w)
					return
				}
				refusal(403, code)(w)
			})
			_, err := stub.Put(t.Context(), "name", text("{}"), test.seen)
			if err == nil || errors.Is(err, bucket.ErrConflict) != (test.want != nil) || errors.Is(err, bucket.ErrNotFound) || puts.Load() != 1 ||
				test.want == nil && !strings.Contains(err.Error(), "blobs/read and .../write") {
				t.Errorf("%s: %s: %v after %d writes, want %v", name, code, err, puts.Load(), test.want)
			}
		}
	}
}

// TestReadsAreRepeated: a read that failed for a moment is nothing to report.
func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	stub, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			refusal(503, "ServerBusy")(w)
			return
		}
		object(2, 2)(w)
	})
	if got, version, err := stub.Get(t.Context(), "name"); err != nil || len(got.Body) != 2 || version != `"0x8D"` {
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
func serve(t *testing.T, respond http.HandlerFunc) (*azblob.Bucket, *atomic.Int32) {
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
