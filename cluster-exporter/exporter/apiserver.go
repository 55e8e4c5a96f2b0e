package exporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// attestationSeconds is the least lifetime that Kubernetes gives a token.
const attestationSeconds = 600

// apiServer is one API server at one address, or whichever a virtual address leads to.
type apiServer struct {
	address   string
	http      *http.Client
	core      coreclient.CoreV1Interface
	discovery discoveryclient.DiscoveryV1Interface
}

func newAPIServer(address string, client *http.Client) (*apiServer, error) {
	config := &rest.Config{
		Host: "https://" + address, QPS: -1, // it polls, which is limit enough
		ContentConfig: rest.ContentConfig{ContentType: "application/json"},
	}
	core, err := coreclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", ErrAccess, address, err)
	}
	discovery, err := discoveryclient.NewForConfigAndClient(config, client)
	if err != nil {
		return nil, fmt.Errorf("%w: address %q: %w", ErrAccess, address, err)
	}
	return &apiServer{address: address, http: client, core: core, discovery: discovery}, nil
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

// counts reports whether the API server was read and has the issuer that the exporter is for.
func (r ServerReading) counts(issuer string) bool { return r.Err == nil && r.Issuer == issuer }

// result is what came of it, for metrics.
func (r ServerReading) result(issuer string) string {
	switch {
	case r.Err != nil:
		return readUnreachable
	case r.Issuer != issuer:
		return readOtherIssuer
	}
	return readOK
}

// statusError is an answer of an API server other than 200.
type statusError struct {
	path   string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("GET %s: %d %s%s", e.path, e.status, http.StatusText(e.status), statusRemedy(e.status))
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
	if json.Unmarshal(body, &discovery) != nil || discovery.Issuer == "" {
		reading.Err = errors.New("the discovery document names no issuer")
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
		return nil, nil, &statusError{path, response.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jwks.MaxBytes+1))
	if err == nil && len(body) > jwks.MaxBytes {
		err = fmt.Errorf("GET %s: more than %d bytes", path, jwks.MaxBytes)
	}
	return body, response.Header, err
}

// attest gets the API server's word for a snapshot key, and tells which key it signs with.
func (s *apiServer) attest(ctx context.Context, namespace, name, audience string) (token, keyID string, err error) {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	seconds := int64(attestationSeconds)
	answer, err := s.core.ServiceAccounts(namespace).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", "", err
	}
	token = answer.Status.Token
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512})
	if err != nil {
		return "", "", errors.New("its TokenRequest answers something that is not a service account token")
	}
	return token, jws.Signatures[0].Protected.KeyID, nil
}
