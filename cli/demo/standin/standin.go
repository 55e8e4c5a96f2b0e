// Package standin is an embedded stand-in for kube-apiserver: the four endpoints that the exporter uses, with real keys and real
// TokenRequest rules. The demo runs it where no cluster is at hand; the tests that count run the real one (test/kube).
package standin

import (
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Key is a service account signing key.
type Key struct {
	jwks.Key
	private crypto.Signer
}

// NewKey names a private key as Kubernetes would.
func NewKey(private crypto.Signer) (Key, error) {
	key, err := jwks.New(private.Public())
	return Key{key, private}, err
}

// Server is one API server.
type Server struct {
	issuer   string
	listener net.Listener
	http     *http.Server

	mu     sync.Mutex
	sign   Key
	verify []Key
}

// Start serves at a free port of 127.0.0.1.
func Start(issuer string, certificate tls.Certificate, sign Key, verify ...Key) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it lives as long as the process
	if err != nil {
		return nil, err
	}
	s := &Server{issuer: issuer, listener: listener}
	s.SetKeys(sign, verify...)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.authenticated(s.discovery))
	mux.HandleFunc("GET /openid/v1/jwks", s.authenticated(s.jwks))
	mux.HandleFunc("GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices", s.authenticated(s.endpoints))
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", s.authenticated(s.tokenRequest))
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/events", s.authenticated(s.events))
	s.http = &http.Server{
		Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
	}
	go func() { _ = s.http.ServeTLS(listener, "", "") }()
	return s, nil
}

// Address is host:port.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Close ends it.
func (s *Server) Close() { _ = s.http.Close() }

// SetKeys is a restart with other flags: the key to sign with, and the keys to list and accept.
func (s *Server) SetKeys(sign Key, verify ...Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sign, s.verify = sign, append([]Key{}, verify...)
	if len(verify) == 0 {
		s.verify = []Key{sign}
	}
}

func (s *Server) keys() (sign Key, verify []Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sign, s.verify
}

// Token is what a TokenRequest gets. No audience means the API server's own.
func (s *Server) Token(namespace, name string, audiences []string, seconds int64) (string, error) {
	sign, _ := s.keys()
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(sign.Algorithm()), Key: jose.JSONWebKey{Key: sign.private, KeyID: sign.ID()},
	}, nil)
	if err != nil {
		return "", err
	}
	if len(audiences) == 0 {
		audiences = []string{s.issuer}
	}
	now := time.Now()
	return jwt.Signed(signer).Claims(map[string]any{
		"iss": s.issuer, "sub": "system:serviceaccount:" + namespace + ":" + name, "aud": audiences,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Unix() + seconds,
		"kubernetes.io": map[string]any{"namespace": namespace, "serviceaccount": map[string]any{"name": name}},
	}).Serialize()
}

// authenticated lets a request in whose token is for the API server and signed by a key that it knows now.
func (s *Server) authenticated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := s.check(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")); err != nil {
			reply(w, http.StatusUnauthorized, "application/json", metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
				Status:   metav1.StatusFailure, Reason: metav1.StatusReasonUnauthorized, Code: http.StatusUnauthorized, Message: "Unauthorized",
			})
			return
		}
		next(w, r)
	}
}

func (s *Server) check(token string) error {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return err
	}
	_, verify := s.keys()
	for _, key := range verify {
		var claims jwt.Claims
		if key.ID() == parsed.Headers[0].KeyID && parsed.Claims(key.Public(), &claims) == nil {
			return claims.Validate(jwt.Expected{Issuer: s.issuer, AnyAudience: jwt.Audience{s.issuer}, Time: time.Now()})
		}
	}
	return errors.New("signed by an unknown key")
}

func (s *Server) discovery(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, "application/json", map[string]any{
		"issuer": s.issuer, "jwks_uri": "https://" + s.Address() + "/openid/v1/jwks",
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
	})
}

// jwks insists on its media type, as kube-apiserver does.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	if accept := r.Header.Get("Accept"); !strings.Contains(accept, "application/jwk-set+json") && !strings.Contains(accept, "*/*") {
		http.Error(w, "only application/jwk-set+json", http.StatusNotAcceptable)
		return
	}
	_, verify := s.keys()
	var set jwks.Set
	for _, key := range verify {
		set = append(set, key.Key)
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(set.Encode())
}

func (s *Server) endpoints(w http.ResponseWriter, _ *http.Request) {
	host, portText, _ := net.SplitHostPort(s.Address())
	number, _ := strconv.ParseInt(portText, 10, 32)
	name, port, ready := "https", int32(number), true
	reply(w, http.StatusOK, "application/json", discovery.EndpointSliceList{
		TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"},
		Items: []discovery.EndpointSlice{{
			AddressType: discovery.AddressTypeIPv4,
			Endpoints:   []discovery.Endpoint{{Addresses: []string{host}, Conditions: discovery.EndpointConditions{Ready: &ready}}},
			Ports:       []discovery.EndpointPort{{Name: &name, Port: &port}},
		}},
	})
}

func (s *Server) tokenRequest(w http.ResponseWriter, r *http.Request) {
	var request authentication.TokenRequest
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil { // clients may send JSON or protobuf
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, &request)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	seconds := int64(3600)
	if request.Spec.ExpirationSeconds != nil {
		seconds = *request.Spec.ExpirationSeconds
	}
	if seconds < 600 {
		http.Error(w, "may not specify a duration less than 10 minutes", http.StatusUnprocessableEntity)
		return
	}
	token, err := s.Token(r.PathValue("namespace"), r.PathValue("name"), request.Spec.Audiences, seconds)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	request.TypeMeta = metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"}
	request.Status = authentication.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(seconds) * time.Second))}
	reply(w, http.StatusCreated, "application/json", request)
}

func (s *Server) events(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusCreated, "application/json", core.Event{TypeMeta: metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}})
}

func reply(w http.ResponseWriter, status int, contentType string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
