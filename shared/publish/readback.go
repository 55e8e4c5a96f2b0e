package publish

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	readBackBytes   = 128 << 10
	readBackTimeout = 5 * time.Second
)

var errPrivateAddress = errors.New("private address: set internal: true at the issuer if its consumers are in the same network")

// strangers follow no redirects and have no credentials. Only the one for internal issuers may reach
// private addresses.
type strangers struct{ public, internal *http.Client }

func newStrangers(roots *x509.CertPool) strangers {
	return strangers{public: stranger(roots, refusePrivate), internal: stranger(roots, nil)}
}

func stranger(roots *x509.CertPool, control func(network, address string, _ syscall.RawConn) error) *http.Client {
	dialer := &net.Dialer{Timeout: readBackTimeout, Control: control}
	return &http.Client{
		Timeout: readBackTimeout,
		Transport: &http.Transport{
			DialContext:       dialer.DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func refusePrivate(_, address string, _ syscall.RawConn) error {
	host, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if ip := host.Addr().Unmap(); !ip.IsGlobalUnicast() || ip.IsPrivate() {
		return errPrivateAddress
	}
	return nil
}

// public are an issuer's documents of this publisher: the object of each, and the URL where the world finds it.
func (iss *issuer) public() [2]struct{ name, url string } {
	return [...]struct{ name, url string }{
		{iss.names.Discovery, iss.servedAt + "/" + discoveryPath},
		{iss.names.JWKS, iss.servedAt + "/" + jwksPath},
	}
}

// compareWithPublic looks at the documents from outside.
func (p *Publisher) compareWithPublic(ctx context.Context, iss *issuer) {
	for _, document := range iss.public() {
		object, _, err := p.readDocument(ctx, document.name)
		if err != nil {
			continue // the next reconcile says so
		}
		public, err := p.fetch(ctx, iss, document.url)
		switch {
		case err != nil:
			p.event(ctx, readBackFailed, "issuer", iss.url, "url", document.url, "detail", err.Error())
		case !bytes.Equal(public, object.Body):
			p.event(ctx, readBackDiffers, "issuer", iss.url, "url", document.url, "detail", difference(public, object.Body))
		}
	}
}

// ErrNotPublic means that an issuer's URL does not serve what is published: not yet, or not to everybody.
var ErrNotPublic = errors.New("the world does not see the documents")

// Public reports whether a stranger gets, at the issuer's URL, the documents that are in the bucket. The error is ErrNotPublic, with a
// *StatusError where there was an answer, or that of the bucket.
func (p *Publisher) Public(ctx context.Context, issuerURL string) error {
	iss, err := p.byURL(issuerURL)
	if err != nil {
		return err
	}
	for _, document := range iss.public() {
		object, _, err := p.readDocument(ctx, document.name)
		if err != nil {
			return err
		}
		public, err := p.fetch(ctx, iss, document.url)
		if err == nil && !bytes.Equal(public, object.Body) {
			err = errors.New(difference(public, object.Body))
		}
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrNotPublic, document.url, err)
		}
	}
	return nil
}

// StatusError is an answer other than 200.
type StatusError struct{ Code int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("status %d %s, want 200", e.Code, http.StatusText(e.Code))
}

func difference(public, stored []byte) string {
	got, numbered := rotation.PublicationOf(public)
	want, _ := rotation.PublicationOf(stored)
	if numbered && got < want {
		return fmt.Sprintf("the URL serves publication %d, the bucket has %d: a cache on the way, if it persists", got, want)
	}
	return "the URL does not serve what the bucket has"
}

// fetch gets a document and looks at nothing in it.
func (p *Publisher) fetch(ctx context.Context, iss *issuer, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := p.strangers.public
	if iss.internal {
		client = p.strangers.internal
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, &StatusError{response.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, readBackBytes+1))
	if err == nil && len(body) > readBackBytes {
		err = fmt.Errorf("more than %d bytes", readBackBytes)
	}
	return body, err
}
