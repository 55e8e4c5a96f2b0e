package exporter

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const (
	serverTimeout      = 5 * time.Second
	attestationSeconds = 600 // the least that Kubernetes gives
)

// Access is how API servers are reached: directly, never through a proxy.
type Access struct {
	Address    string // of any of them, to list them all: host:port
	CAFile     string
	ServerName string
	TokenFile  string // read for every request: the kubelet renews it, and after a key swap the old token is refused
	Dial       func(ctx context.Context, network, address string) (net.Conn, error)
}

// apiServer is one API server at one address.
type apiServer struct {
	address string
	http    *http.Client
	client  kubernetes.Interface
}

func (a Access) server(address string, fresh bool) (*apiServer, error) {
	config := &rest.Config{
		Host:            "https://" + address,
		TLSClientConfig: rest.TLSClientConfig{CAFile: a.CAFile, ServerName: a.ServerName},
		Timeout:         serverTimeout,
		Dial:            a.Dial,
		Proxy:           http.ProxyURL(nil),
		QPS:             -1,
		WrapTransport: func(next http.RoundTripper) http.RoundTripper {
			if t, ok := next.(*http.Transport); ok && fresh {
				next = withoutKeepAlives(t)
			}
			return tokenFromFile{path: a.TokenFile, next: next}
		},
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	typed, err := kubernetes.NewForConfigAndClient(config, client)
	return &apiServer{address: address, http: client, client: typed}, err
}

// withoutKeepAlives makes every request a connection of its own, so that a virtual address may lead to another API server.
func withoutKeepAlives(t *http.Transport) *http.Transport {
	t = t.Clone()
	t.DisableKeepAlives = true
	return t
}

type tokenFromFile struct {
	path string
	next http.RoundTripper
}

func (t tokenFromFile) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := os.ReadFile(t.path)
	if err != nil {
		return nil, fmt.Errorf("read the API token: %w", err)
	}
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	return t.next.RoundTrip(r)
}

// ServerReading is what one API server said.
type ServerReading struct {
	Address string
	Issuer  string
	Keys    jwks.Set
	Skew    time.Duration // how far its clock is ahead of ours, to the second
	Err     error

	server *apiServer
}

var errStatus = errors.New("unexpected answer")

// read asks for issuer and keys. API servers answer 406 to anything that does not accept their very media types.
func (s *apiServer) read(ctx context.Context, now func() time.Time) ServerReading {
	reading := ServerReading{Address: s.address, server: s}
	body, header, err := s.get(ctx, "/.well-known/openid-configuration", "application/json")
	if err != nil {
		reading.Err = err
		return reading
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		reading.Skew = date.Sub(now()).Truncate(time.Second)
	}
	var discovery struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(body, &discovery); err != nil {
		reading.Err = fmt.Errorf("discovery document: %w", err)
		return reading
	}
	reading.Issuer = discovery.Issuer
	if body, _, err = s.get(ctx, "/openid/v1/jwks", "application/jwk-set+json, application/json"); err == nil {
		reading.Keys, err = jwks.Parse(body)
	}
	reading.Err = err
	return reading
}

func (s *apiServer) get(ctx context.Context, path, accept string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.address+path, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Accept", accept)
	response, err := s.http.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("%w: GET %s: %s%s", errStatus, path, response.Status, statusRemedy(response.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jwks.MaxBytes+1))
	return body, response.Header, err
}

func statusRemedy(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return ": it does not know the key that signed this exporter's API token; the kubelet brings a new token within 8 minutes"
	case http.StatusForbidden:
		return ": is the ClusterRole system:service-account-issuer-discovery bound to service accounts?"
	case http.StatusNotFound:
		return ": its first --service-account-issuer is not an https URL"
	}
	return ""
}

// attest gets the API server's word for a snapshot key, and tells which key it signs with.
func (s *apiServer) attest(ctx context.Context, namespace, name, audience string) (token, keyID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	seconds := int64(attestationSeconds)
	answer, err := s.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", "", fmt.Errorf("attestation by %s: %w", s.address, err)
	}
	header, _, _ := strings.Cut(answer.Status.Token, ".")
	var h struct {
		KeyID string `json:"kid"`
	}
	if data, err := base64.RawURLEncoding.DecodeString(header); err != nil || json.Unmarshal(data, &h) != nil {
		return "", "", fmt.Errorf("attestation by %s: not a token", s.address)
	}
	return answer.Status.Token, h.KeyID, nil
}
