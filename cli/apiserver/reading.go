package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-json-experiment/json"
	authentication "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/cli/token"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Reading is what one API server says of itself.
type Reading struct {
	Address string
	Reached bool          // it answered, if only with a refusal
	Err     error         // why there is no discovery document; a *StatusError if it answered
	Issuer  string        // the first --service-account-issuer
	JWKSURI string        // what its discovery document says
	Body    []byte        // its JWKS as it is
	Keys    jwks.Set      // the same, read strictly
	KeysErr error         // why there are no Keys
	Skew    time.Duration // how far its clock is ahead of this machine's, to the second

	server *server
}

// StatusError is an answer other than 200.
type StatusError struct {
	Path   string
	Status int
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("GET %s: %d %s", e.Path, e.Status, http.StatusText(e.Status))
}

// read asks for issuer and keys. API servers answer 406 to anything that does not accept their very media types.
func (s *server) read(ctx context.Context) Reading {
	r := Reading{Address: s.address, server: s}
	asked := time.Now()
	body, header, err := s.get(ctx, "/.well-known/openid-configuration", "application/json")
	took := time.Since(asked)
	r.Reached, r.Err = header != nil, err
	if date, failed := http.ParseTime(header.Get("Date")); failed == nil {
		r.Skew = date.Add(500 * time.Millisecond).Sub(asked.Add(took / 2)).Truncate(time.Second) // the header cuts half a second on average
	}
	if err != nil {
		return r
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal(body, &document) != nil || document.Issuer == "" {
		r.Err = errors.New("the discovery document names no issuer")
		return r
	}
	r.Issuer, r.JWKSURI = document.Issuer, document.JWKSURI
	if r.Body, _, r.KeysErr = s.get(ctx, "/openid/v1/jwks", "application/jwk-set+json, application/json"); r.KeysErr == nil {
		r.Keys, r.KeysErr = jwks.Parse(r.Body)
	}
	return r
}

// get returns the headers of every answer.
func (s *server) get(ctx context.Context, path, accept string) ([]byte, http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.base, "/")+path, http.NoBody)
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
		return nil, response.Header, &StatusError{path, response.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jwks.MaxBytes+1))
	if err == nil && len(body) > jwks.MaxBytes {
		err = fmt.Errorf("GET %s: more than %d bytes", path, jwks.MaxBytes)
	}
	return body, response.Header, err
}

// Token is one that an API server gave, and what is in it.
type Token struct {
	Address string
	Text    string // the token: never printed
	KeyID   string // of the key that signed it
	Claims  jwt.Claims
	PodUID  string
	Err     error
}

// Life is from iat to exp.
func (t Token) Life() time.Duration {
	if t.Claims.Expiry == nil || t.Claims.IssuedAt == nil {
		return 0
	}
	return t.Claims.Expiry.Time().Sub(t.Claims.IssuedAt.Time())
}

// Tokens asks each API server that was read for a token of an account ("namespace/name"), which tells the key it signs with.
func Tokens(ctx context.Context, readings []Reading, account string, audiences []string, seconds int64) []Token {
	tokens := make([]Token, len(readings))
	var all sync.WaitGroup
	for i, r := range readings {
		all.Go(func() {
			tokens[i] = request(ctx, r.server.client, account, audiences, seconds)
			tokens[i].Address = r.Address
		})
	}
	all.Wait()
	return tokens
}

func request(ctx context.Context, client kubernetes.Interface, account string, audiences []string, seconds int64) Token {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	namespace, name, _ := strings.Cut(account, "/")
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return Token{Err: err}
	}
	t := Token{Text: answer.Status.Token}
	parsed, err := jwt.ParseSigned(t.Text, token.Algorithms)
	if err != nil {
		t.Err = errors.New("its signature is of a kind that no API server makes")
		return t
	}
	t.KeyID = parsed.Headers[0].KeyID
	var private struct {
		Kubernetes struct {
			Pod struct {
				UID string `json:"uid"`
			} `json:"pod"`
		} `json:"kubernetes.io"`
	}
	t.Err = parsed.UnsafeClaimsWithoutVerification(&t.Claims, &private)
	t.PodUID = private.Kubernetes.Pod.UID
	return t
}
