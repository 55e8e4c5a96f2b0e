package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/memory"
)

// accessKey is the only one the object store knows.
const accessKey = "AKIAIOSFODNN7EXAMPLE"

// objectStore is as much of S3 as the publisher uses: two buckets, conditional writes, access for one key.
type objectStore struct {
	*testing.T
	buckets map[string]*memory.Bucket
}

func newObjectStore(t *testing.T, buckets ...string) (store *objectStore, url string) {
	t.Helper()
	store = &objectStore{T: t, buckets: map[string]*memory.Bucket{}}
	for _, name := range buckets {
		store.buckets[name] = memory.New(memory.ContentVersions)
	}
	server := httptest.NewServer(store)
	t.Cleanup(server.Close)
	return store, server.URL
}

func (s *objectStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	held, found := s.buckets[name]
	switch {
	case !strings.Contains(r.Header.Get("Authorization"), "Credential="+accessKey+"/"):
		fail(w, http.StatusForbidden, "AccessDenied")
	case !found:
		fail(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method == http.MethodGet:
		object, version, err := held.Get(r.Context(), key)
		if err != nil {
			fail(w, http.StatusNotFound, "NoSuchKey")
			return
		}
		w.Header().Set("ETag", `"`+string(version)+`"`)
		w.Header().Set("Content-Type", object.ContentType)
		w.Header().Set("Cache-Control", object.CacheControl)
		_, _ = w.Write(object.Body)
	case r.Method == http.MethodPut:
		s.put(w, r, held, key)
	default:
		s.Errorf("the function asks for %s %s", r.Method, r.URL)
		fail(w, http.StatusForbidden, "AccessDenied")
	}
}

func (s *objectStore) put(w http.ResponseWriter, r *http.Request, held *memory.Bucket, key string) {
	seen := bucket.Version(strings.Trim(r.Header.Get("If-Match"), `"`))
	if (seen == bucket.Absent) != (r.Header.Get("If-None-Match") == "*") {
		s.Errorf("the function writes %s without a condition", r.URL)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		fail(w, http.StatusBadRequest, "IncompleteBody")
		return
	}
	object := bucket.Object{Body: body, ContentType: r.Header.Get("Content-Type"), CacheControl: r.Header.Get("Cache-Control")}
	version, err := held.Put(r.Context(), key, object, seen)
	switch {
	case errors.Is(err, bucket.ErrConflict):
		fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
	case err != nil:
		s.Errorf("the function writes %s: %v", r.URL, err)
		fail(w, http.StatusBadRequest, "InvalidRequest")
	default:
		w.Header().Set("ETag", `"`+string(version)+`"`)
	}
}

func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<Error><Code>"+code+"</Code><Message>"+code+"</Message></Error>")
}
