package standin

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

const maxBody = 1 << 20

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	intercept := s.intercept
	s.mu.Unlock()
	if intercept != nil && intercept(w, r) {
		return
	}
	who, err := s.authenticate(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	if err != nil {
		fail(w, http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", s.discovery)
	mux.HandleFunc("GET /openid/v1/jwks", s.jwks)
	mux.HandleFunc("GET /apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices", s.endpointSlices)
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/serviceaccounts/{name}/token", who.allowed(s.tokenRequest))
	mux.HandleFunc("POST /api/v1/namespaces/{namespace}/events", who.allowed(s.event))
	mux.ServeHTTP(w, r)
}

// allowed lets an account do to itself and in its namespace what the chart's roles let it.
func (a account) allowed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("namespace") != a.namespace || r.PathValue("name") != "" && r.PathValue("name") != a.name {
			fail(w, http.StatusForbidden, metav1.StatusReasonForbidden, "serviceaccount "+a.namespace+"/"+a.name+" may not "+r.Method+" "+r.URL.Path)
			return
		}
		next(w, r)
	}
}

func (s *Server) discovery(w http.ResponseWriter, r *http.Request) {
	f := s.flags()
	algorithms := map[string]bool{}
	for _, key := range f.verify {
		algorithms[key.Algorithm()] = true
	}
	var sorted []string
	for algorithm := range algorithms {
		sorted = append(sorted, algorithm)
	}
	slices.Sort(sorted)
	s.document(w, r, "application/json", map[string]any{
		"issuer": f.issuer, "jwks_uri": "https://" + s.Advertised() + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": sorted,
	})
}

// jwks lists the keys in the order of the flags, and one as often as they name it.
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	var set jwks.Set
	for _, key := range s.flags().verify {
		set = append(set, key.Key)
	}
	s.document(w, r, "application/jwk-set+json", json.RawMessage(set.Encode()))
}

// document answers 404 if the issuer is not an https URL, and 406 to a request that does not accept its very media type.
func (s *Server) document(w http.ResponseWriter, r *http.Request, mediaType string, body any) {
	switch {
	case !strings.HasPrefix(s.flags().issuer, "https://"):
		http.NotFound(w, r)
	case !accepts(r.Header.Get("Accept"), mediaType):
		w.WriteHeader(http.StatusNotAcceptable)
	default:
		w.Header().Set("Cache-Control", "public, max-age=3600")
		reply(w, http.StatusOK, mediaType, body)
	}
}

func accepts(header, mediaType string) bool {
	if header == "" {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		if accepted, _, err := mime.ParseMediaType(part); err == nil && (accepted == mediaType || accepted == "*/*") {
			return true
		}
	}
	return false
}

func (s *Server) endpointSlices(w http.ResponseWriter, r *http.Request) {
	list := discovery.EndpointSliceList{TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}}
	selector := r.URL.Query().Get("labelSelector")
	if r.PathValue("namespace") == metav1.NamespaceDefault && (selector == "" || selector == discovery.LabelServiceName+"=kubernetes") {
		list.Items = []discovery.EndpointSlice{s.cluster.endpointSlice()}
	}
	reply(w, http.StatusOK, "application/json", list)
}

func (c *Cluster) endpointSlice() discovery.EndpointSlice {
	name, port, ready := "https", int32(c.port), true
	slice := discovery.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: "kubernetes", Namespace: metav1.NamespaceDefault, Labels: map[string]string{discovery.LabelServiceName: "kubernetes"},
		},
		AddressType: discovery.AddressTypeIPv4,
		Ports:       []discovery.EndpointPort{{Name: &name, Port: &port}},
	}
	for _, s := range c.Servers {
		if s.isListed() {
			slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{
				Addresses: []string{s.advertised}, Conditions: discovery.EndpointConditions{Ready: &ready},
			})
		}
	}
	return slice
}

func (s *Server) tokenRequest(w http.ResponseWriter, r *http.Request) {
	var request authentication.TokenRequest
	if !decode(w, r, &request) {
		return
	}
	status, err := s.request(r.PathValue("namespace"), r.PathValue("name"), request.Spec)
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "spec.expirationSeconds: "+err.Error())
		return
	}
	request.TypeMeta = metav1.TypeMeta{Kind: "TokenRequest", APIVersion: "authentication.k8s.io/v1"}
	request.Status = status
	reply(w, http.StatusCreated, "application/json", request)
}

func (s *Server) event(w http.ResponseWriter, r *http.Request) {
	var event core.Event
	if !decode(w, r, &event) {
		return
	}
	switch {
	case event.InvolvedObject.Namespace != r.PathValue("namespace"):
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "involvedObject.namespace does not match event.namespace")
		return
	case len(event.Message) > 1024:
		fail(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "message can have at most 1024 characters")
		return
	}
	event.TypeMeta = metav1.TypeMeta{Kind: "Event", APIVersion: "v1"}
	reply(w, http.StatusCreated, "application/json", s.cluster.addEvent(event))
}

// decode reads what a client may send: JSON or protobuf.
func decode(w http.ResponseWriter, r *http.Request, into runtime.Object) bool {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err == nil {
		_, _, err = scheme.Codecs.UniversalDeserializer().Decode(body, nil, into)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	}
	return err == nil
}

// fail answers in the way of Kubernetes, which client-go understands.
func fail(w http.ResponseWriter, status int32, reason metav1.StatusReason, message string) {
	reply(w, int(status), "application/json", metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: reason, Message: message, Code: status,
	})
}

func reply(w http.ResponseWriter, status int, mediaType string, body any) {
	data, err := json.Marshal(body)
	if err != nil {
		http.Error(w, fmt.Sprint(err), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_, _ = w.Write(data)
}
