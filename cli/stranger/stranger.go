// Package stranger looks at an issuer's documents as a cloud does: over https, without credentials, following no redirect, and with
// nothing but the issuer's URL.
package stranger

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	timeout = 10 * time.Second

	// MaxDocument is the longest document that is read, in bytes. Publishers write at most half of it.
	MaxDocument = 128 << 10
)

// Where documents are below an issuer's URL. The second is where this project puts them; a discovery document may say another.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	JWKSPath      = "/openid/v1/jwks"
)

var (
	// ErrDiscovery means that the discovery document could not be had or read.
	ErrDiscovery = errors.New("discovery document")

	errNotHTTPS = errors.New("want an https URL")
)

// Client is a stranger. It is safe for concurrent use.
type Client struct{ http *http.Client }

// Dialer connects to an address; it fits http.Transport.DialContext.
type Dialer func(ctx context.Context, network, address string) (net.Conn, error)

// New makes a stranger that believes the system's authorities, or with caBundle those of that PEM file alone. dial is nil except where
// names lead elsewhere than DNS says.
func New(caBundle string, dial Dialer) (Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if caBundle != "" {
		pem, err := os.ReadFile(caBundle)
		if err != nil {
			return Client{}, err
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return Client{}, fmt.Errorf("--ca-bundle: %s holds no certificate", caBundle)
		}
	}
	transport := &http.Transport{ // a connection for each request: behind one name there may be many servers
		TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, DialContext: dial, ForceAttemptHTTP2: true, DisableKeepAlives: true,
		MaxResponseHeaderBytes: 64 << 10,
	}
	return Client{&http.Client{
		Timeout: timeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Answer is what a URL answered, whatever the status.
type Answer struct {
	URL      string
	Status   int
	Header   http.Header
	Body     []byte // one byte more than MaxDocument, if there is more
	Took     time.Duration
	Asked    time.Time // by this machine's clock, in the middle of the request
	Expires  time.Time // of the certificate that ends first
	Protocol string    // of TLS
}

// Ask gets a URL. The error says that there was no answer.
func (s Client) Ask(ctx context.Context, url string) (Answer, error) {
	a := Answer{URL: url}
	if !strings.HasPrefix(url, "https://") {
		return a, fmt.Errorf("%s: %w", url, errNotHTTPS)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return a, err
	}
	began := time.Now()
	response, err := s.http.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	a.Status, a.Header = response.StatusCode, response.Header
	if response.TLS != nil {
		a.Expires, a.Protocol = endOf(response.TLS.PeerCertificates), tls.VersionName(response.TLS.Version)
	}
	a.Body, err = io.ReadAll(io.LimitReader(response.Body, MaxDocument+1))
	a.Took = time.Since(began)
	a.Asked = began.Add(a.Took / 2)
	return a, err
}

func endOf(chain []*x509.Certificate) time.Time {
	var end time.Time
	for _, certificate := range chain {
		if end.IsZero() || certificate.NotAfter.Before(end) {
			end = certificate.NotAfter
		}
	}
	return end
}

// Get is the body and the headers of a URL that answers with status 200.
func (s Client) Get(ctx context.Context, url string) ([]byte, http.Header, error) {
	a, err := s.Ask(ctx, url)
	switch {
	case err != nil:
		return nil, nil, err
	case a.Status != http.StatusOK:
		return nil, nil, fmt.Errorf("%s: %d %s", url, a.Status, http.StatusText(a.Status))
	case len(a.Body) > MaxDocument:
		return nil, nil, fmt.Errorf("%s: more than %d bytes", url, MaxDocument)
	}
	return a.Body, a.Header, nil
}

// Documents are an issuer's two.
type Documents struct {
	Issuer     string   `json:"issuer"`
	JWKSURI    string   `json:"jwks_uri"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`

	Keys   jwks.Set    `json:"-"`
	Body   []byte      `json:"-"` // the JWKS
	Header http.Header `json:"-"` // the JWKS's
}

// Documents gets both. The error is ErrDiscovery if the first is the trouble.
func (s Client) Documents(ctx context.Context, issuer string) (Documents, error) {
	var d Documents
	body, _, err := s.Get(ctx, issuer+DiscoveryPath)
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrDiscovery, err)
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return d, fmt.Errorf("%w: not strict JSON", ErrDiscovery)
	}
	if d.Body, d.Header, err = s.Get(ctx, d.JWKSURI); err != nil {
		return d, fmt.Errorf("keys: %w", err)
	}
	if d.Keys, err = jwks.Parse(d.Body); err != nil {
		return d, fmt.Errorf("keys at %s: %w", d.JWKSURI, err)
	}
	return d, nil
}
