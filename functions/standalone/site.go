package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// site is the publisher's door and the documents at the paths of their URLs. No name of an object comes from a request.
type site struct {
	documents bucket.Bucket
	mux       *http.ServeMux
}

func newSite(p *publish.Publisher, documents bucket.Bucket, settings enrollment.Publisher) http.Handler {
	s := &site{documents: documents, mux: http.NewServeMux()}
	door := publish.NewHandler(p)
	s.mux.Handle("/v1/snapshots", door)
	s.mux.Handle("/healthz", door)
	for _, issuer := range settings.Issuers {
		u, err := url.Parse(issuer.URL)
		if err != nil {
			continue // enrollment has refused it
		}
		for name, object := range publish.DocumentNames(issuer) {
			s.mux.HandleFunc("GET "+u.Path+"/"+name, s.document(object))
		}
	}
	return s.mux
}

func (s *site) document(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		object, _, err := s.documents.Get(r.Context(), name)
		switch {
		case errors.Is(err, bucket.ErrNotFound):
			http.NotFound(w, r)
			return
		case err != nil:
			w.Header().Set("Retry-After", "5")
			http.Error(w, "the document can't be read now", http.StatusServiceUnavailable)
			return
		}
		sum := sha256.Sum256(object.Body)
		w.Header().Set("Content-Type", object.ContentType)
		w.Header().Set("Cache-Control", object.CacheControl)
		w.Header().Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:])+`"`)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object.Body)) // HEAD, If-None-Match
	}
}
