package standin

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	defaultSeconds = 3600
	minSeconds     = 600
	maxSeconds     = 1 << 32
)

var (
	errTooShort     = errors.New("may not specify a duration less than 10 minutes")
	errTooLong      = errors.New("may not specify a duration larger than 2^32 seconds")
	errUnauthorized = errors.New("the token is not for this API server, or by none of its keys")
)

// Token is what a TokenRequest without a bound object gets. No audience means the API server's own; 0 seconds means an hour.
func (s *Server) Token(namespace, name string, audiences []string, seconds int64) (string, error) {
	spec := authentication.TokenRequestSpec{Audiences: audiences}
	if seconds != 0 {
		spec.ExpirationSeconds = &seconds
	}
	answer, err := s.request(namespace, name, spec)
	return answer.Token, err
}

// PodToken is what the kubelet gets for a pod, as it projects it.
func (s *Server) PodToken(namespace, name, pod string, audiences []string, seconds int64) (string, error) {
	answer, err := s.request(namespace, name, authentication.TokenRequestSpec{
		Audiences: audiences, ExpirationSeconds: &seconds,
		BoundObjectRef: &authentication.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod, UID: uid("pod", pod)},
	})
	return answer.Token, err
}

func (s *Server) request(namespace, name string, spec authentication.TokenRequestSpec) (authentication.TokenRequestStatus, error) {
	seconds := int64(defaultSeconds)
	if spec.ExpirationSeconds != nil {
		seconds = *spec.ExpirationSeconds
	}
	switch {
	case seconds < minSeconds:
		return authentication.TokenRequestStatus{}, errTooShort
	case seconds > maxSeconds:
		return authentication.TokenRequestStatus{}, errTooLong
	}
	f := s.flags()
	if len(spec.Audiences) == 0 {
		spec.Audiences = []string{f.issuer}
	}
	kubernetes := map[string]any{
		"namespace": namespace, "serviceaccount": map[string]any{"name": name, "uid": uid("sa", namespace, name)},
	}
	if ref := spec.BoundObjectRef; ref != nil && ref.Kind == "Pod" {
		kubernetes["pod"] = map[string]any{"name": ref.Name, "uid": ref.UID}
	}
	now := s.cluster.now()
	token, err := f.sign.sign(map[string]any{
		"iss": f.issuer, "sub": "system:serviceaccount:" + namespace + ":" + name, "aud": spec.Audiences,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Unix() + seconds, "jti": rand.Text(), "kubernetes.io": kubernetes,
	})
	status := authentication.TokenRequestStatus{Token: token}
	status.ExpirationTimestamp.Time = now.Add(time.Duration(seconds) * time.Second)
	return status, err
}

func (k *Key) sign(claims map[string]any) (string, error) {
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Algorithm()), Key: jose.JSONWebKey{Key: k.private, KeyID: k.ID()},
	}, nil)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}

// account is who a request is from.
type account struct{ namespace, name string }

// authenticate accepts a token for the API server by a key that it knows now, within its times and a minute.
func (s *Server) authenticate(token string) (account, error) {
	f := s.flags()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512})
	if err != nil {
		return account{}, errUnauthorized
	}
	for _, key := range f.verify {
		if key.ID() != parsed.Headers[0].KeyID || key.Algorithm() != parsed.Headers[0].Algorithm {
			continue
		}
		var claims jwt.Claims
		var private struct {
			Kubernetes struct {
				Namespace      string `json:"namespace"`
				ServiceAccount struct {
					Name string `json:"name"`
				} `json:"serviceaccount"`
			} `json:"kubernetes.io"`
		}
		if parsed.Claims(key.Public(), &claims, &private) != nil ||
			claims.Validate(jwt.Expected{Issuer: f.issuer, AnyAudience: jwt.Audience{f.issuer}, Time: s.cluster.now()}) != nil {
			return account{}, errUnauthorized
		}
		return account{private.Kubernetes.Namespace, private.Kubernetes.ServiceAccount.Name}, nil
	}
	return account{}, errUnauthorized
}

// uid is the same for the same object, as in one cluster's lifetime.
func uid(parts ...string) types.UID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", parts))
	return types.UID(fmt.Sprintf("%x-%x-4%x-8%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])[:36])
}
