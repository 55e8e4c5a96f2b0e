package gcs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/buckettest"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
)

// refusal is Cloud Storage's own form of an error.
func refusal(status int, reason, message string) buckettest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, status, message, message, reason)
	}
}

// metadata is an object's.
func metadata(generation, more string) buckettest.Answer {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		fmt.Fprintf(w, `{"kind":"storage#object","name":"prod/openid/jwks","bucket":"documents","generation":%q,"contentType":"application/json"%s}`, generation, more)
	}
}

var (
	noObject  = refusal(404, "notFound", "No such object: documents/prod/openid/jwks")
	noBucket  = refusal(404, "notFound", "The specified bucket does not exist.")
	denied    = refusal(403, "forbidden", "exporter@acme.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object.")
	stale     = refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
	busy      = refusal(429, "rateLimitExceeded", "The object documents/prod/openid/jwks exceeded the rate limit for object mutation operations.")
	emptyList = buckettest.Page(200, `{"kind":"storage#objects"}`)
	otherList = buckettest.Page(200, `{"kind":"storage#objects","items":[{"kind":"storage#object","name":"prod/openid/jwks.bak"}]}`)
)

// A cloud answers each kind of request.
type cloud struct {
	read, content, list, write buckettest.Answer
}

func (c cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch query := r.URL.Query(); {
	case r.Method == http.MethodPost:
		c.write(w, r)
	case strings.HasSuffix(r.URL.Path, "/o"):
		c.list(w, r)
	case query.Get("alt") == "media":
		if query.Get("generation") == "" {
			buckettest.Page(400, "content of any generation is asked for")(w, r)
			return
		}
		c.content(w, r)
	default:
		c.read(w, r)
	}
}

// serve returns a driver whose requests are answered so. A write is sent once, whatever comes of it.
func serve(t testing.TB, handler http.HandlerFunc) bucket.Bucket {
	t.Helper()
	var writes atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			writes.Add(1)
		}
		handler(w, r)
	}))
	t.Cleanup(func() {
		server.Close()
		if n := writes.Load(); n > 1 {
			t.Errorf("a write was sent %d times", n)
		}
	})
	client, err := gcs.NewClient(t.Context(), option.WithEndpoint(server.URL+"/storage/v1/"), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	opened, err := gcs.New(client, "documents")
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

var (
	there = metadata("7", "")
	wire  = buckettest.Wire{
		Serve: serve, Version: "7", Stale: stale, Busy: busy,
		Found:   cloud{read: there, content: buckettest.Page(200, "{}")}.ServeHTTP,
		Missing: cloud{read: noObject, list: emptyList}.ServeHTTP,
	}
)

func TestWire(t *testing.T) { wire.Run(t) }

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	proxy, large := buckettest.Page(404, "<html>no such host</html>"), buckettest.Content("", bucket.MaxBody+1, bucket.MaxBody+1)
	cases := map[string]buckettest.Verdict{}
	for name, v := range map[string]struct {
		cloud cloud
		want  error
		says  string
	}{
		"no object":               {cloud{read: noObject, list: emptyList}, bucket.ErrNotFound, "gs://documents/prod/openid/jwks"},
		"no object, but its like": {cloud{read: noObject, list: otherList}, bucket.ErrNotFound, ""},
		"no bucket":               {cloud{read: noBucket, list: noBucket}, nil, "there is no bucket documents"},
		"no object, list denied":  {cloud{read: noObject, list: denied}, nil, "storage.objects.list"},
		"no object, list breaks":  {cloud{read: noObject, list: busy}, nil, "exceeded the rate limit"},
		"denied":                  {cloud{read: denied}, nil, "storage.objects.list"},
		"no login":                {cloud{read: refusal(401, "required", "Anonymous caller")}, nil, "no valid credentials"},
		"404 of a proxy":          {cloud{read: proxy, list: proxy}, nil, "no such host"},
		"a page of a proxy":       {cloud{read: buckettest.Page(200, "<html>log in</html>")}, nil, ""},
		"precondition":            {cloud{read: stale}, nil, "412"},
		"too many requests":       {cloud{read: busy}, nil, "429"},
		"unavailable":             {cloud{read: refusal(503, "backendError", "Backend Error")}, nil, "503"},
		"connection cut":          {cloud{read: buckettest.Cut}, nil, ""},
		"no generation":           {cloud{read: metadata("0", "")}, nil, "no generation"},
		"encoded":                 {cloud{read: metadata("7", `,"contentEncoding":"gzip"`)}, nil, `stored as "gzip"`},
		"content denied":          {cloud{read: there, content: denied}, nil, "storage.objects.get"},
		"content truncated":       {cloud{read: there, content: buckettest.Content("", 10, 100)}, nil, "the body: "},
		"content too large":       {cloud{read: there, content: large}, nil, "over 8388608 bytes"},
		"content without end":     {cloud{read: there, content: buckettest.Endless("")}, nil, "over 8388608 bytes"},
	} {
		cases[name] = buckettest.Verdict{Answer: v.cloud.ServeHTTP, Want: v.want, Says: v.says}
	}
	wire.Judged(t, cases, buckettest.Get)
}

// An object that is replaced faster than it can be read is looked for as long as the caller waits.
func TestReplacedAllTheTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var reads atomic.Int32
	c := &cloud{content: noObject, read: func(w http.ResponseWriter, r *http.Request) {
		if reads.Add(1) == 3 {
			cancel()
		}
		there(w, r)
	}}
	if _, _, err := serve(t, c.ServeHTTP).Get(ctx, "name"); err == nil || errors.Is(err, bucket.ErrNotFound) || reads.Load() != 3 {
		t.Errorf("%v after %d reads", err, reads.Load())
	}
}

func TestPutAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]buckettest.Verdict{}
	for name, v := range map[string]struct {
		cloud cloud
		want  error
		says  string
	}{
		"another version":          {cloud{write: stale}, bucket.ErrConflict, "gs://documents/prod/openid/jwks"},
		"412 of a proxy":           {cloud{write: buckettest.Page(412, "<html>no</html>")}, bucket.ErrConflict, ""},
		"no bucket":                {cloud{write: noBucket}, nil, "there is no bucket documents"},
		"denied":                   {cloud{write: denied, read: denied}, nil, "storage.objects.delete"},
		"no login":                 {cloud{write: refusal(401, "authError", "Invalid Credentials")}, nil, "no valid credentials"},
		"more than one a second":   {cloud{write: busy}, nil, "one write per second"},
		"unavailable":              {cloud{write: refusal(503, "backendError", "Backend Error")}, nil, "503"},
		"broken":                   {cloud{write: refusal(500, "internalError", "Internal Error")}, nil, "500"},
		"another kind of conflict": {cloud{write: refusal(409, "conflict", "Conflict")}, nil, "409"},
		"timeout of a proxy":       {cloud{write: buckettest.Page(408, "")}, nil, "408"},
		"no generation":            {cloud{write: buckettest.Page(200, `{}`)}, nil, ""},
		"no JSON":                  {cloud{write: buckettest.Page(200, `<html>`)}, nil, ""},
		"connection cut":           {cloud{write: buckettest.Cut}, nil, ""},
	} {
		cases[name] = buckettest.Verdict{Answer: v.cloud.ServeHTTP, Want: v.want, Says: v.says}
	}
	for _, seen := range []bucket.Version{bucket.Absent, "7"} {
		wire.Judged(t, cases, buckettest.Put(seen))
	}
}

// TestCreateWithoutDelete: who may create but not replace is denied to create what exists. That is a conflict, and nothing else is.
func TestCreateWithoutDelete(t *testing.T) {
	t.Parallel()
	c := cloud{write: denied, read: there}
	if _, err := serve(t, c.ServeHTTP).Put(t.Context(), "name", text("{}"), bucket.Absent); !errors.Is(err, bucket.ErrConflict) {
		t.Errorf("a creation: %v", err)
	}
	if _, err := serve(t, c.ServeHTTP).Put(t.Context(), "name", text("{}"), "7"); err == nil || errors.Is(err, bucket.ErrConflict) {
		t.Errorf("an update: %v", err)
	}
}

// An object that is replaced while it is read is read again.
func TestReplacedOnce(t *testing.T) {
	t.Parallel()
	var reads atomic.Int32
	c := &cloud{}
	c.read = func(w http.ResponseWriter, r *http.Request) {
		if reads.Add(1) == 1 {
			metadata("6", "")(w, r)
			return
		}
		metadata("7", `,"cacheControl":"no-store"`)(w, r)
	}
	c.content = func(w http.ResponseWriter, r *http.Request) {
		if reads.Load() == 1 {
			noObject(w, r)
			return
		}
		buckettest.Page(200, "{}")(w, r)
	}
	got, version, err := serve(t, c.ServeHTTP).Get(t.Context(), "name")
	if err != nil || string(got.Body) != "{}" || version != "7" || got.CacheControl != "no-store" || reads.Load() != 2 {
		t.Errorf("Get = %+v, %q, %v after %d reads", got, version, err, reads.Load())
	}
}

// TestRequests: what is sent is conditional, in one piece, without an ACL, and reads no more than one object's metadata.
func TestRequests(t *testing.T) {
	t.Parallel()
	for seen, want := range map[bucket.Version]string{bucket.Absent: "0", "1763712000123456": "1763712000123456"} {
		stub := serve(t, func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			if query.Get("ifGenerationMatch") != want || query.Get("uploadType") != "multipart" || query.Has("predefinedAcl") || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("seen %q: %s", seen, r.URL)
			}
			metadata("1763712000123457", "")(w, r)
		})
		// The stub does not know the sum of the content, which the SDK compares.
		if _, err := stub.Put(t.Context(), "name", text("{}"), seen); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("seen %q: %v, want a checksum that differs", seen, err)
		}
	}
}

func TestBucketNames(t *testing.T) {
	t.Parallel()
	for name, good := range map[string]bool{
		"acme-oidc-documents": true, "abc": true, "a_b": true, strings.Repeat("a", 63): true,
		"": false, "ab": false, strings.Repeat("a", 64): false, "with.dot": false, "Upper": false, "-a-b": false, "a-b-": false, "a/b": false,
	} {
		if _, err := gcs.New(&storage.Client{}, name); (err == nil) != good {
			t.Errorf("New(%q): %v", name, err)
		}
	}
}

// FuzzVersions: what is no generation is never sent, and one is sent as it is.
func FuzzVersions(f *testing.F) {
	for _, seed := range []string{"", "0", "7", "-7", "+7", "07", " 7", "0x7", "1763712000123456", "9223372036854775808", `"etag"`} {
		f.Add(seed)
	}
	var sent atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent.Store(r.URL.Query().Get("ifGenerationMatch"))
		stale(w, r)
	}))
	f.Cleanup(server.Close)
	client, err := gcs.NewClient(f.Context(), option.WithEndpoint(server.URL+"/storage/v1/"), option.WithoutAuthentication())
	if err != nil {
		f.Fatal(err)
	}
	stub, err := gcs.New(client, "documents")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, seen string) {
		sent.Store("nothing")
		_, err := stub.Put(t.Context(), "name", text("{}"), bucket.Version(seen))
		want := seen
		if seen == "" {
			want = "0"
		}
		if errors.Is(err, bucket.ErrConflict) != (sent.Load() == want) || err == nil {
			t.Errorf("seen %q: sent %v, %v", seen, sent.Load(), err)
		}
	})
}

func text(body string) bucket.Object {
	return bucket.Object{Body: []byte(body), ContentType: "application/json"}
}
