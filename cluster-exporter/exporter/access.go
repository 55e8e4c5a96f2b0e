package exporter

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
)

const (
	serverTimeout  = 5 * time.Second
	maxServerBytes = 1 << 20 // of any answer of an API server; a list of EndpointSlices is the longest
	maxTokenBytes  = 64 << 10
)

// ErrAccess means that the API servers can't be reached with what Access says: a file is missing or empty, or no address is known.
var ErrAccess = errors.New("no access to the API servers")

// Access is how API servers are reached: directly, never through a proxy.
type Access struct {
	Address   string // of any of them, to list them all: host:port
	CAFile    string // their authority, PEM; read again when it changes
	TokenFile string // read for every request: the kubelet renews it, and after a key swap the old token is refused
	Dial      func(ctx context.Context, network, address string) (net.Conn, error)

	serverName string // in their certificates; the settings say it
}

func (a Access) authority() ([]byte, error) {
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, fmt.Errorf("%w: the authority of the API servers: %w", ErrAccess, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s holds no certificate, want the authority of the API servers", ErrAccess, a.CAFile)
	}
	return pem, nil
}

// client speaks HTTP/1.1, whose connections do not outlive a timeout: an API server that hung is dialled again at the next poll. With
// fresh set each request has a connection of its own, so that a virtual address may lead to another API server.
func (a Access) client(authority []byte, fresh bool) *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	dial := a.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: serverTimeout}).DialContext
	}
	transport := &http.Transport{ // Proxy is nil
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, ServerName: a.serverName, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    serverTimeout,
		IdleConnTimeout:        2 * maxPollInterval,
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      fresh,
	}
	return &http.Client{
		Transport: tokenFromFile{path: a.TokenFile, next: transport}, Timeout: serverTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the token is for nobody else
	}
}

// tokenFromFile authenticates requests with the newest token there is. One that was renewed while a request was refused is tried at once.
type tokenFromFile struct {
	path string
	next *http.Transport
}

// RoundTrip implements http.RoundTripper.
func (t tokenFromFile) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	token, err := t.read()
	if err != nil {
		return nil, err
	}
	response, err := t.send(r, token)
	if err != nil || response.StatusCode != http.StatusUnauthorized {
		return response, err
	}
	renewed, err := t.read()
	if err != nil || renewed == token {
		return response, nil // the refusal is the answer
	}
	_ = response.Body.Close()
	return t.send(r, renewed)
}

// CloseIdleConnections lets http.Client.CloseIdleConnections through.
func (t tokenFromFile) CloseIdleConnections() { t.next.CloseIdleConnections() }

func (t tokenFromFile) read() (string, error) {
	token, err := readToken(t.path)
	if err != nil {
		return "", fmt.Errorf("%w: the API token: %w", ErrAccess, err)
	}
	return token, nil
}

// readToken never has the token in its error.
func readToken(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxTokenBytes))
	_ = file.Close() // it was only read
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(data))
	if token == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return token, nil
}

func (t tokenFromFile) send(r *http.Request, token string) (*http.Response, error) {
	again := r.Clone(r.Context())
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return nil, errors.New("a request that can't be sent twice")
		}
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	again.Header.Set("Authorization", "Bearer "+token)
	response, err := t.next.RoundTrip(again)
	if err == nil {
		response.Body = limitedBody{io.LimitReader(response.Body, maxServerBytes), response.Body}
	}
	return response, err
}

type limitedBody struct {
	io.Reader
	io.Closer
}
