package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
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
	logger    *slog.Logger
	mux       *http.ServeMux
}

// newSite routes by path alone, so that it also works behind a proxy that changes the Host header; by host and path where two issuers
// have the same path.
func newSite(p *publish.Publisher, documents bucket.Bucket, settings enrollment.Publisher, logger *slog.Logger) (http.Handler, error) {
	s := &site{documents: documents, logger: logger, mux: http.NewServeMux()}
	door := publish.NewHandler(p)
	s.mux.Handle("/v1/snapshots", door)
	s.mux.Handle("/healthz", door)
	var urls []*url.URL
	for _, issuer := range settings.Issuers {
		u, err := url.Parse(issuer.URL)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", issuer.URL, err)
		}
		urls = append(urls, u)
	}
	for i, issuer := range settings.Issuers {
		host, err := hostOf(urls[i], urls)
		if err != nil {
			return nil, err
		}
		for name, object := range publish.DocumentNames(issuer) {
			s.mux.HandleFunc("GET "+host+urls[i].Path+"/"+name, s.document(object))
		}
	}
	return s.mux, nil
}

// hostOf is what tells an issuer from all others of the same path; empty where there is none.
func hostOf(u *url.URL, all []*url.URL) (string, error) {
	host := ""
	for _, other := range all {
		switch {
		case other.Path != u.Path || other.Host == u.Host: // another path, or itself
		case other.Hostname() == u.Hostname():
			return "", fmt.Errorf("the issuers %s and %s differ in their ports only: give them different paths, or a publisher each", u, other)
		default:
			host = u.Hostname()
		}
	}
	return host, nil
}

func (s *site) document(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		object, _, err := s.documents.Get(r.Context(), name)
		switch {
		case errors.Is(err, bucket.ErrNotFound):
			http.NotFound(w, r)
			return
		case err != nil:
			s.logger.ErrorContext(r.Context(), "a document can't be read", "event", "document.unreadable", "document", name, "detail", err.Error())
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
