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
	places, err := placesOf(settings.Issuers)
	if err != nil {
		return nil, err
	}
	served := map[string]bool{}
	for _, place := range places {
		host, err := hostOf(place, places)
		if err != nil {
			return nil, err
		}
		for name, object := range publish.DocumentNames(place.issuer) {
			if pattern := "GET " + host + place.url.Path + "/" + name; !served[pattern] { // a mirror's path may be the issuer's own
				served[pattern] = true
				s.mux.HandleFunc(pattern, s.document(object))
			}
		}
	}
	return s.mux, nil
}

// place is a URL below which an issuer's documents are served.
type place struct {
	url    *url.URL
	issuer enrollment.Issuer
}

// placesOf are the issuers' own URLs, which may lead here when the primary is gone, and where a mirror is served besides.
func placesOf(issuers []enrollment.Issuer) ([]place, error) {
	var all []place
	for _, issuer := range issuers {
		own, err := url.Parse(issuer.URL)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", issuer.URL, err)
		}
		all = append(all, place{own, issuer})
		if issuer.ServedAt == "" {
			continue
		}
		mirror, err := url.Parse(issuer.ServedAt)
		if err != nil {
			return nil, fmt.Errorf("issuer %s is served at %q: %w", issuer.URL, issuer.ServedAt, err)
		}
		all = append(all, place{mirror, issuer})
	}
	return all, nil
}

// hostOf is what tells a place from those of other issuers with the same path; empty where there is none.
func hostOf(p place, all []place) (string, error) {
	host := ""
	for _, other := range all {
		switch {
		case other.url.Path != p.url.Path || other.issuer.URL == p.issuer.URL:
		case other.url.Hostname() == p.url.Hostname():
			return "", fmt.Errorf("%s and %s are one place, or differ in their ports only: give them different paths, or a publisher each", p.url, other.url)
		default:
			host = p.url.Hostname()
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
