package exporter

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"
)

const (
	sendTimeout = 30 * time.Second // publishers answer within 25 s
	maxAnswer   = 64 << 10
)

// newClient reaches a destination: by the settings' proxy or that of the environment, with the system's authorities and those of the
// bundles. It follows no redirect, for what it sends is for nobody else, and reads little more than maxAnswer.
func newClient(settings Settings, bundles ...string) (*http.Client, error) {
	standard, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("http.DefaultTransport was replaced")
	}
	template := standard.Clone()
	template.MaxResponseHeaderBytes = maxAnswer
	if settings.Proxy != "" {
		proxy, err := url.Parse(settings.Proxy)
		if err != nil {
			return nil, errors.New("proxy is not a URL")
		}
		template.Proxy = http.ProxyURL(proxy)
	}
	transport := &renewedTransport{template: template}
	for _, bundle := range bundles {
		if bundle != "" {
			transport.bundles = append(transport.bundles, bundle)
		}
	}
	if err := transport.renew(); err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: transport, Timeout: sendTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// renewedTransport reads the bundles of authorities again for every request, for they change when an authority is rotated.
type renewedTransport struct {
	template *http.Transport // never used itself
	bundles  []string        // files

	mu      sync.Mutex
	read    []byte // what the bundles held
	current *http.Transport
}

// RoundTrip implements http.RoundTripper. While a bundle is being replaced or is not right, the authorities of before go on.
func (t *renewedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	_ = t.renew()
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	response, err := current.RoundTrip(r)
	if err == nil {
		response.Body = limitedBody{io.LimitReader(response.Body, maxAnswer+1), response.Body}
	}
	return response, err
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t *renewedTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.current.CloseIdleConnections()
}

// renew takes note of bundles that changed. The connections of before end with their requests.
func (t *renewedTransport) renew() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current != nil && len(t.bundles) == 0 {
		return nil
	}
	roots, read, err := authorities(t.bundles)
	if err != nil || t.current != nil && bytes.Equal(read, t.read) {
		return err
	}
	next := t.template.Clone()
	next.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if t.current != nil {
		t.current.CloseIdleConnections()
	}
	t.current, t.read = next, read
	return nil
}

// authorities are the system's and those of the bundles, which are returned too; nil is the system's alone.
func authorities(bundles []string) (roots *x509.CertPool, read []byte, err error) {
	for _, bundle := range bundles {
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, nil, fmt.Errorf("caBundle: %w", err)
		}
		if roots == nil {
			if roots, err = x509.SystemCertPool(); err != nil {
				roots = x509.NewCertPool()
			}
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, fmt.Errorf("caBundle: %s holds no certificate", bundle)
		}
		read = append(append(read, pem...), 0)
	}
	return roots, read, nil
}

// withoutURL keeps a URL, which may hold what should not be repeated, out of messages.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
