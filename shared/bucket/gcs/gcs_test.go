package gcs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
)

// An answer is what Cloud Storage, or something on the way to it, says to one request.
type answer func(http.ResponseWriter)

// refusal is Cloud Storage's own form of an error.
func refusal(status int, reason, message string) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":%d,"message":%q,"errors":[{"message":%q,"domain":"global","reason":%q}]}}`, status, message, message, reason)
	}
}

func page(status int, body string) answer {
	return func(w http.ResponseWriter) {
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// metadata is an object's.
func metadata(generation, more string) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		fmt.Fprintf(w, `{"kind":"storage#object","name":"prod/openid/jwks","bucket":"documents","generation":%q,"contentType":"application/json"%s}`, generation, more)
	}
}

// content answers with more or less than it announces.
func content(size, length int) answer {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", strconv.Itoa(length))
		_, _ = w.Write(make([]byte, size))
	}
}

// endless answers until nobody listens any more.
func endless(w http.ResponseWriter) {
	for {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return
		}
	}
}

// cut ends the connection without a word: the request may have been carried out.
func cut(http.ResponseWriter) { panic(http.ErrAbortHandler) }

var (
	noObject  = refusal(404, "notFound", "No such object: documents/prod/openid/jwks")
	noBucket  = refusal(404, "notFound", "The specified bucket does not exist.")
	denied    = refusal(403, "forbidden", "exporter@acme.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object.")
	stale     = refusal(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
	busy      = refusal(429, "rateLimitExceeded", "The object documents/prod/openid/jwks exceeded the rate limit for object mutation operations.")
	emptyList = page(200, `{"kind":"storage#objects"}`)
	otherList = page(200, `{"kind":"storage#objects","items":[{"kind":"storage#object","name":"prod/openid/jwks.bak"}]}`)
)

// A cloud answers each kind of request.
type cloud struct {
	read, content, list, write answer

	reads, writes atomic.Int32
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch query := r.URL.Query(); {
	case r.Method == http.MethodPost:
		c.writes.Add(1)
		c.write(w)
	case strings.HasSuffix(r.URL.Path, "/o"):
		c.list(w)
	case query.Get("alt") == "media":
		if query.Get("generation") == "" {
			page(400, "content of any generation is asked for")(w)
			return
		}
		c.content(w)
	default:
		c.reads.Add(1)
		c.read(w)
	}
}

// serve returns a driver whose requests are answered so.
func serve(t *testing.T, handler http.Handler) *gcs.Bucket {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
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

// A verdict is the decision that the answers must lead to (nil for an error of no kind), and what the error must say.
type verdict struct {
	cloud cloud
	want  error
	says  string
}

func TestGetAnswers(t *testing.T) {
	t.Parallel()
	there := metadata("7", "")
	for name, v := range map[string]*verdict{
		"no object":                 {cloud{read: noObject, list: emptyList}, bucket.ErrNotFound, "gs://documents/prod/openid/jwks"},
		"no object, but its like":   {cloud{read: noObject, list: otherList}, bucket.ErrNotFound, ""},
		"no bucket":                 {cloud{read: noBucket, list: noBucket}, nil, "there is no bucket documents"},
		"no object, list denied":    {cloud{read: noObject, list: denied}, nil, "storage.objects.list"},
		"no object, list breaks":    {cloud{read: noObject, list: busy}, nil, "exceeded the rate limit"},
		"denied":                    {cloud{read: denied}, nil, "storage.objects.list"},
		"no login":                  {cloud{read: refusal(401, "required", "Anonymous caller")}, nil, "no valid credentials"},
		"404 of a proxy":            {cloud{read: page(404, "<html>no such host</html>"), list: page(404, "<html>no such host</html>")}, nil, "no such host"},
		"a page of a proxy":         {cloud{read: page(200, "<html>log in</html>")}, nil, ""},
		"precondition":              {cloud{read: stale}, nil, "412"},
		"too many requests":         {cloud{read: busy}, nil, "429"},
		"unavailable":               {cloud{read: refusal(503, "backendError", "Backend Error")}, nil, "503"},
		"connection cut":            {cloud{read: cut}, nil, ""},
		"no generation":             {cloud{read: metadata("0", "")}, nil, "no generation"},
		"encoded":                   {cloud{read: metadata("7", `,"contentEncoding":"gzip"`)}, nil, `stored as "gzip"`},
		"content denied":            {cloud{read: there, content: denied}, nil, "storage.objects.get"},
		"content truncated":         {cloud{read: there, content: content(10, 100)}, nil, "the body: "},
		"content too large":         {cloud{read: there, content: content(bucket.MaxBody+1, bucket.MaxBody+1)}, nil, "over 8388608 bytes"},
		"content without end":       {cloud{read: there, content: endless}, nil, "over 8388608 bytes"},
		"content that is not there": {cloud{read: there, content: noObject}, nil, "replaced faster"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if v.says == "replaced faster" { // the driver would look again for as long as it may
				v.cloud.content = func(w http.ResponseWriter) {
					if v.cloud.reads.Load() == 3 {
						cancel()
					}
					noObject(w)
				}
				v.says = ""
			}
			got, version, err := serve(t, &v.cloud).Get(ctx, "prod/openid/jwks")
			if got.Body != nil || got.ContentType != "" {
				t.Error("an object comes with the error")
			}
			v.check(t, version, err)
		})
	}
}

func TestPutAnswers(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]*verdict{
		"another version":          {cloud{write: stale}, bucket.ErrConflict, "gs://documents/prod/openid/jwks"},
		"412 of a proxy":           {cloud{write: page(412, "<html>no</html>")}, bucket.ErrConflict, ""},
		"no bucket":                {cloud{write: noBucket}, nil, "there is no bucket documents"},
		"denied":                   {cloud{write: denied, read: denied}, nil, "storage.objects.delete"},
		"no login":                 {cloud{write: refusal(401, "authError", "Invalid Credentials")}, nil, "no valid credentials"},
		"more than one a second":   {cloud{write: busy}, nil, "one write per second"},
		"unavailable":              {cloud{write: refusal(503, "backendError", "Backend Error")}, nil, "503"},
		"broken":                   {cloud{write: refusal(500, "internalError", "Internal Error")}, nil, "500"},
		"another kind of conflict": {cloud{write: refusal(409, "conflict", "Conflict")}, nil, "409"},
		"timeout of a proxy":       {cloud{write: page(408, "")}, nil, "408"},
		"no generation":            {cloud{write: page(200, `{}`)}, nil, ""},
		"no JSON":                  {cloud{write: page(200, `<html>`)}, nil, ""},
		"connection cut":           {cloud{write: cut}, nil, ""},
	} {
		for _, seen := range []bucket.Version{bucket.Absent, "7"} {
			t.Run(name+" "+string(seen), func(t *testing.T) {
				t.Parallel()
				c := &cloud{read: v.cloud.read, write: v.cloud.write}
				version, err := serve(t, c).Put(t.Context(), "prod/openid/jwks", text("{}"), seen)
				v.check(t, version, err)
				if n := c.writes.Load(); n != 1 {
					t.Errorf("it was sent %d times", n)
				}
			})
		}
	}
}

func (v *verdict) check(t *testing.T, version bucket.Version, err error) {
	t.Helper()
	if err == nil || version != bucket.Absent || !strings.Contains(err.Error(), v.says) {
		t.Errorf("%q, %v; want an error that says %q", version, err, v.says)
	}
	for _, sentinel := range []error{bucket.ErrNotFound, bucket.ErrConflict, bucket.ErrName, bucket.ErrObject} {
		if errors.Is(err, sentinel) != errors.Is(v.want, sentinel) {
			t.Errorf("%v; is it %q: %t", err, sentinel.Error(), errors.Is(err, sentinel))
		}
	}
}

// TestCreateWithoutDelete: who may create but not replace is denied to create what exists. That is a conflict, and nothing else is.
func TestCreateWithoutDelete(t *testing.T) {
	t.Parallel()
	stub := serve(t, &cloud{write: denied, read: metadata("7", "")})
	if _, err := stub.Put(t.Context(), "name", text("{}"), bucket.Absent); !errors.Is(err, bucket.ErrConflict) {
		t.Errorf("a creation: %v", err)
	}
	if _, err := stub.Put(t.Context(), "name", text("{}"), "7"); err == nil || errors.Is(err, bucket.ErrConflict) {
		t.Errorf("an update: %v", err)
	}
}

// TestLostAnswer: what was stored although its answer was lost is not reported as somebody else's, and the next read finds it.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	for _, seen := range []bucket.Version{bucket.Absent, "6"} {
		var stored atomic.Bool
		c := &cloud{list: emptyList, content: page(200, "{}")}
		c.read = func(w http.ResponseWriter) {
			if !stored.Load() {
				noObject(w) // a connection is open now, that a careless client would repeat itself on
				return
			}
			metadata("7", "")(w)
		}
		c.write = func(w http.ResponseWriter) {
			if stored.Swap(true) {
				stale(w)
				return
			}
			cut(w)
		}
		stub := serve(t, c)
		if _, _, err := stub.Get(t.Context(), "name"); !errors.Is(err, bucket.ErrNotFound) {
			t.Fatal(err)
		}
		_, err := stub.Put(t.Context(), "name", text("{}"), seen)
		if err == nil || errors.Is(err, bucket.ErrConflict) || c.writes.Load() != 1 {
			t.Errorf("seen %q: %v after %d writes, want an unclear answer after one", seen, err, c.writes.Load())
		}
		if got, version, err := stub.Get(t.Context(), "name"); err != nil || string(got.Body) != "{}" || version != "7" {
			t.Errorf("seen %q: Get = %q, %q, %v", seen, got.Body, version, err)
		}
	}
}

// TestReadsAreRepeated: a read that failed for a moment is nothing to report, nor is an object that is replaced while it is read.
func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	c := &cloud{}
	c.read = func(w http.ResponseWriter) {
		switch c.reads.Load() {
		case 1:
			busy(w)
		case 2:
			metadata("6", "")(w)
		default:
			metadata("7", `,"cacheControl":"no-store"`)(w)
		}
	}
	c.content = func(w http.ResponseWriter) {
		if c.reads.Load() == 2 {
			noObject(w)
			return
		}
		content(2, 2)(w)
	}
	got, version, err := serve(t, c).Get(t.Context(), "name")
	if err != nil || len(got.Body) != 2 || version != "7" || got.CacheControl != "no-store" || c.reads.Load() != 3 {
		t.Errorf("Get = %+v, %q, %v after %d reads", got, version, err, c.reads.Load())
	}
}

// TestRequests: what is sent is conditional, in one piece, without an ACL, and reads no more than one object's metadata.
func TestRequests(t *testing.T) {
	t.Parallel()
	for seen, want := range map[bucket.Version]string{bucket.Absent: "0", "1763712000123456": "1763712000123456"} {
		stub := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			query := r.URL.Query()
			if query.Get("ifGenerationMatch") != want || query.Get("uploadType") != "multipart" || query.Has("predefinedAcl") || r.Header.Get("Idempotency-Key") != "" {
				t.Errorf("seen %q: %s", seen, r.URL)
			}
			metadata("1763712000123457", "")(w)
		}))
		// The stub does not know the sum of the content, which the SDK compares.
		if _, err := stub.Put(t.Context(), "name", text("{}"), seen); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("seen %q: %v, want a checksum that differs", seen, err)
		}
	}
}

// TestSilence: who never gets an answer can give up.
func TestSilence(t *testing.T) {
	t.Parallel()
	stub := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := stub.Get(ctx, "name"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Get: %v", err)
	}
	if _, err := stub.Put(ctx, "name", text("{}"), bucket.Absent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
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
		stale(w)
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
