package doctor_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// fakeServer is an API server with the few answers that doctor asks for. Its fields are what flags and misfortunes make of it.
type fakeServer struct {
	*httptest.Server
	world *world

	issuer     string
	jwksURI    string
	keys       []snapshottest.Key
	sign       snapshottest.Key
	jwks       string              // instead of keys
	status     map[string]int      // path → refusal
	longest    time.Duration       // --service-account-max-token-expiration
	audiences  []string            // --api-audiences
	ahead      time.Duration       // of its clock
	denied     string              // the verb that the exporter's account may not
	policy     metav1.StatusReason // of the admission policy that keeps tokens of the exporter's account from everybody; empty without one
	claims     func(map[string]any)
	unlisted   bool
	advertised string // where it is listed, if not where it is
}

func (w *world) startServer() *fakeServer {
	s := &fakeServer{
		world: w, issuer: issuer, jwksURI: issuer + "/openid/v1/jwks", keys: []snapshottest.Key{rsaKey()}, sign: rsaKey(), status: map[string]int{},
		longest: 24 * time.Hour, audiences: []string{"https://kubernetes.default.svc"},
	}
	s.Server = w.serve(http.HandlerFunc(s.answer))
	return s
}

func (s *fakeServer) answer(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Date", time.Now().Add(s.ahead).UTC().Format(http.TimeFormat))
	for path, status := range s.status {
		if strings.HasPrefix(r.URL.Path, path) {
			reply(rw, status, metav1.Status{
				TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(status), Reason: reason(status),
			})
			return
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		reply(rw, http.StatusOK, map[string]any{"issuer": s.issuer, "jwks_uri": s.jwksURI})
	})
	mux.HandleFunc("GET /openid/v1/jwks", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, s.keySet()) })
	mux.HandleFunc("GET /apis/discovery.k8s.io/v1/namespaces/default/endpointslices", s.endpointSlices)
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", s.token)
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", s.review)
	mux.ServeHTTP(rw, r)
}

func (s *fakeServer) keySet() string {
	if s.jwks != "" {
		return s.jwks
	}
	var set jwks.Set
	for _, key := range s.keys {
		set = append(set, key.Key)
	}
	return string(set.Encode())
}

func (s *fakeServer) endpointSlices(rw http.ResponseWriter, _ *http.Request) {
	list := discovery.EndpointSliceList{TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}}
	name := "https"
	for _, server := range s.world.servers {
		address := strings.TrimPrefix(server.URL, "https://")
		if server.advertised != "" {
			address = server.advertised
		}
		host, port, _ := net.SplitHostPort(address)
		number := int32(must(strconv.ParseInt(port, 10, 32)))
		if server.unlisted {
			continue
		}
		list.Items = append(list.Items, discovery.EndpointSlice{
			Ports: []discovery.EndpointPort{{Name: &name, Port: &number}}, Endpoints: []discovery.Endpoint{{Addresses: []string{host}}},
		})
	}
	reply(rw, http.StatusOK, list)
}

func (s *fakeServer) token(rw http.ResponseWriter, r *http.Request) {
	var request authentication.TokenRequest
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	if s.policy != "" && r.PathValue("namespace")+"/"+r.PathValue("name") == account {
		s.refuse(rw, r.PathValue("name"))
		return
	}
	spec := request.Spec
	if len(spec.Audiences) == 0 {
		spec.Audiences = s.audiences
	}
	life := min(time.Duration(*spec.ExpirationSeconds)*time.Second, s.longest)
	now := time.Now().Add(s.ahead)
	claims := map[string]any{
		"iss": s.issuer, "sub": "system:serviceaccount:" + r.PathValue("namespace") + ":" + r.PathValue("name"), "aud": spec.Audiences,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(),
	}
	if s.claims != nil {
		s.claims(claims)
	}
	request.Status.Token = snapshottest.Token(s.sign, claims)
	reply(rw, http.StatusCreated, request)
}

// refuse answers as Kubernetes does for a ValidatingAdmissionPolicy, here the chart's.
func (s *fakeServer) refuse(rw http.ResponseWriter, name string) {
	const said = "ValidatingAdmissionPolicy 'kube-iam-assume-cluster-exporter-tokens' with binding 'kube-iam-assume-cluster-exporter-tokens' denied request: " +
		"a token of " + account + " speaks for the cluster's signing keys: only its own pod gets one, and only to vouch for a snapshot key"
	code := http.StatusForbidden
	if s.policy == metav1.StatusReasonInvalid {
		code = http.StatusUnprocessableEntity
	}
	reply(rw, code, metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: s.policy,
		Message: "serviceaccounts \"" + name + "\" is forbidden: " + said,
		Details: &metav1.StatusDetails{Name: name, Kind: "serviceaccounts", Causes: []metav1.StatusCause{{Message: said}}},
	})
}

// review knows the groups of the account, as the real one does not know them by itself.
func (s *fakeServer) review(rw http.ResponseWriter, r *http.Request) {
	var review authorization.SubjectAccessReview
	if json.NewDecoder(r.Body).Decode(&review) != nil {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	verb := "get"
	if a := review.Spec.ResourceAttributes; a != nil {
		verb = a.Verb
	}
	review.Status.Allowed = verb != s.denied && slices.Contains(review.Spec.Groups, "system:serviceaccounts")
	reply(rw, http.StatusCreated, review)
}

func reason(status int) metav1.StatusReason {
	switch status {
	case http.StatusNotFound:
		return metav1.StatusReasonNotFound
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	case http.StatusUnauthorized:
		return metav1.StatusReasonUnauthorized
	}
	return metav1.StatusReasonInternalError
}

func reply(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body)
}
