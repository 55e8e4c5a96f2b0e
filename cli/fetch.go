package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	fetchTimeout = 10 * time.Second
	maxDocument  = 128 << 10
	maxInput     = 1 << 20
)

// stranger fetches documents as a cloud does: over https, without credentials, following no redirect.
type stranger struct{ client *http.Client }

func newStranger(caBundle string) (stranger, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caBundle != "" {
		pem, err := os.ReadFile(caBundle)
		if err != nil {
			return stranger{}, err
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return stranger{}, fmt.Errorf("--ca-bundle: %s holds no certificate", caBundle)
		}
	}
	return stranger{&http.Client{
		Timeout:       fetchTimeout,
		Transport:     &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (s stranger) get(ctx context.Context, url string) ([]byte, http.Header, error) {
	if !strings.HasPrefix(url, "https://") {
		return nil, nil, fmt.Errorf("%s: want an https URL", url)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%s: %s", url, response.Status)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxDocument+1))
	if err == nil && len(body) > maxDocument {
		err = fmt.Errorf("%s: more than %d bytes", url, maxDocument)
	}
	return body, response.Header, err
}

// documents are an issuer's two, as a stranger sees them.
type documents struct {
	Issuer     string   `json:"issuer"`
	JWKSURI    string   `json:"jwks_uri"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`

	keys   jwks.Set
	body   []byte // the JWKS
	header http.Header
}

var errDiscovery = errors.New("discovery document")

func (s stranger) documents(ctx context.Context, issuer string) (documents, error) {
	var d documents
	body, _, err := s.get(ctx, issuer+"/.well-known/openid-configuration")
	if err != nil {
		return d, fmt.Errorf("%w: %w", errDiscovery, err)
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return d, fmt.Errorf("%w: not strict JSON", errDiscovery)
	}
	if d.body, d.header, err = s.get(ctx, d.JWKSURI); err != nil {
		return d, fmt.Errorf("keys: %w", err)
	}
	if d.keys, err = jwks.Parse(d.body); err != nil {
		return d, fmt.Errorf("keys at %s: %w", d.JWKSURI, err)
	}
	return d, nil
}

// readInput reads a file, or standard input for "-".
func readInput(name string, stdin io.Reader) ([]byte, error) {
	source := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		source = file
	}
	data, err := io.ReadAll(io.LimitReader(source, maxInput+1))
	if err == nil && len(data) > maxInput {
		err = fmt.Errorf("%s: more than %d bytes", name, maxInput)
	}
	return data, err
}
