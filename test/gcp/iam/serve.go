package iam

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/api/iam/v1"
)

const maxBody = 1 << 20

var paths = regexp.MustCompile(`^/v1/(projects/[^/]+/locations/[^/]+/workloadIdentityPools/[^/]+/providers/[^/]+)(/operations/[^/]+)?$`)

type operation struct {
	name, provider string
	update         iam.WorkloadIdentityPoolProvider
	mask           []string
	left           int // polls until it is done
	done           bool
	fails          *iam.Status
}

// refusal is an answer with a google.rpc.Status.
type refusal struct {
	status          int
	reason, message string
	metadata        map[string]string
}

// statusNames are the google.rpc.Codes of HTTP statuses.
var statusNames = map[int]string{
	http.StatusBadRequest: "INVALID_ARGUMENT", http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: "PERMISSION_DENIED",
	http.StatusNotFound: "NOT_FOUND", http.StatusConflict: "ABORTED", http.StatusTooManyRequests: "RESOURCE_EXHAUSTED",
	http.StatusInternalServerError: "INTERNAL", http.StatusServiceUnavailable: "UNAVAILABLE", http.StatusGatewayTimeout: "DEADLINE_EXCEEDED",
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	m := paths.FindStringSubmatch(r.URL.Path)
	call := ""
	switch {
	case m == nil:
	case r.Method == http.MethodGet && m[2] != "":
		call = Operation
	case r.Method == http.MethodGet:
		call = Get
	case r.Method == http.MethodPatch && m[2] == "":
		call = Patch
	}
	if call == "" {
		answer(w, nil, &refusal{status: http.StatusNotFound, message: "Method not found."})
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		answer(w, nil, &refusal{status: http.StatusBadRequest, message: "Request payload size exceeds the limit."})
		return
	}
	fault, result, refused, then := s.handle(call, m[1], m[2], r, body)
	if then != nil {
		then()
	}
	switch {
	case fault != nil && fault.Ends == 0:
		fault.answer(w)
	default:
		answer(w, result, refused)
	}
}

// handle is one call under the lock, with its effect unless a fault comes before.
func (s *Server) handle(call, name, suffix string, r *http.Request, body []byte) (fault *Fault, result any, refused *refusal, then func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	if !s.allowed(r) {
		return nil, nil, &refusal{status: http.StatusUnauthorized, reason: "ACCESS_TOKEN_TYPE_UNSUPPORTED", message: "Request had invalid authentication credentials. " +
			"Expected OAuth 2 access token, login cookie or other valid authentication credential."}, nil
	}
	fault = s.fault(call)
	if fault != nil && !fault.Applied && fault.Ends == 0 {
		return fault, nil, nil, nil
	}
	happened := true
	switch call {
	case Get:
		result, refused = s.get(name)
	case Patch:
		result, refused = s.patch(name, r.URL.Query()["updateMask"], body, fault)
	case Operation:
		result, refused, happened = s.poll(name, name+suffix)
	}
	if refused == nil && happened {
		then, s.after[call] = s.after[call], nil
	}
	return fault, result, refused, then
}

// may says what Google says to whom it does not allow to know whether there is such a provider.
func (s *Server) may(permission, name string) *refusal {
	if s.granted[permission] {
		return nil
	}
	return &refusal{
		status: http.StatusForbidden, reason: "IAM_PERMISSION_DENIED",
		message:  fmt.Sprintf("Permission '%s' denied on resource '//iam.googleapis.com/%s' (or it may not exist).", permission, name),
		metadata: map[string]string{"permission": permission, "resource": name},
	}
}

func (s *Server) get(name string) (any, *refusal) {
	if refused := s.may(GetPermission, name); refused != nil {
		return nil, refused
	}
	provider := s.providers[name]
	if provider == nil {
		return nil, &refusal{status: http.StatusNotFound, message: "Requested entity was not found."}
	}
	if stale := s.stale[name]; stale != nil && stale.reads > 0 {
		stale.reads--
		return clone(stale.provider), nil
	}
	return clone(*provider), nil
}

// fields are what an update mask may name, and how each is taken over.
var fields = map[string]func(to, from *iam.WorkloadIdentityPoolProvider){
	"displayName":        func(to, from *iam.WorkloadIdentityPoolProvider) { to.DisplayName = from.DisplayName },
	"description":        func(to, from *iam.WorkloadIdentityPoolProvider) { to.Description = from.Description },
	"disabled":           func(to, from *iam.WorkloadIdentityPoolProvider) { to.Disabled = from.Disabled },
	"attributeMapping":   func(to, from *iam.WorkloadIdentityPoolProvider) { to.AttributeMapping = from.AttributeMapping },
	"attributeCondition": func(to, from *iam.WorkloadIdentityPoolProvider) { to.AttributeCondition = from.AttributeCondition },
	"oidc":               func(to, from *iam.WorkloadIdentityPoolProvider) { to.Oidc = from.Oidc },
	"oidc.issuerUri":     func(to, from *iam.WorkloadIdentityPoolProvider) { to.Oidc.IssuerUri = from.Oidc.IssuerUri },
	"oidc.allowedAudiences": func(to, from *iam.WorkloadIdentityPoolProvider) {
		to.Oidc.AllowedAudiences = from.Oidc.AllowedAudiences
	},
	"oidc.jwksJson": func(to, from *iam.WorkloadIdentityPoolProvider) { to.Oidc.JwksJson = from.Oidc.JwksJson },
}

func (s *Server) patch(name string, mask []string, body []byte, fault *Fault) (any, *refusal) {
	if refused := s.may(UpdatePermission, name); refused != nil {
		return nil, refused
	}
	provider := s.providers[name]
	if provider == nil {
		return nil, &refusal{status: http.StatusNotFound, message: "Requested entity was not found."}
	}
	if provider.State == "DELETED" {
		return nil, &refusal{status: http.StatusBadRequest, message: "Cannot update a deleted workload identity pool provider."}
	}
	op := &operation{name: operationName(name), provider: name, left: s.polls}
	if refused := op.take(mask, body, provider); refused != nil {
		return nil, refused
	}
	if fault != nil && fault.Ends != 0 {
		op.fails = &iam.Status{Code: int64(fault.Ends), Message: fault.Message}
	}
	s.operations[op.name] = op
	return op.answer(nil), nil
}

// take checks a request as far as Google does: what the mask names must be a field and be there; the keys are not looked at.
func (o *operation) take(mask []string, body []byte, provider *iam.WorkloadIdentityPoolProvider) *refusal {
	invalid := func(message string) *refusal { return &refusal{status: http.StatusBadRequest, message: message} }
	if len(mask) != 1 || mask[0] == "" {
		return invalid("update_mask is required.")
	}
	o.mask = strings.Split(mask[0], ",")
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o.update); err != nil {
		return invalid("Invalid JSON payload received. " + err.Error())
	}
	for _, path := range o.mask {
		switch {
		case fields[path] == nil:
			return invalid(fmt.Sprintf("Invalid field mask path: %q.", path))
		case strings.HasPrefix(path, "oidc.") && provider.Oidc == nil:
			return invalid("The identity provider type cannot be changed.")
		case strings.HasPrefix(path, "oidc") && o.update.Oidc == nil:
			return invalid("oidc is required.")
		}
	}
	if slices.Contains(o.mask, "oidc.issuerUri") && !strings.HasPrefix(o.update.Oidc.IssuerUri, "https://") {
		return invalid("oidc.issuer_uri must be an HTTPS endpoint.")
	}
	return nil
}

// poll reports whether the operation has just ended.
func (s *Server) poll(provider, name string) (result any, refused *refusal, ended bool) {
	if refused := s.may(GetPermission, provider); refused != nil {
		return nil, refused, false
	}
	op := s.operations[name]
	if op == nil {
		return nil, &refusal{status: http.StatusNotFound, message: "Requested entity was not found."}, false
	}
	if op.left--; op.left <= 0 && !op.done {
		op.done, ended = true, true
		if to := s.providers[op.provider]; op.fails == nil && to != nil {
			for _, path := range op.mask {
				fields[path](to, &op.update)
			}
		}
	}
	return op.answer(s.providers[op.provider]), nil, ended
}

func (o *operation) answer(provider *iam.WorkloadIdentityPoolProvider) any {
	shown := map[string]any{
		"name": o.name, "metadata": map[string]any{"@type": "type.googleapis.com/google.iam.v1.WorkloadIdentityPoolOperationMetadata"},
	}
	if !o.done {
		return shown // false is left out, as everywhere in Google's JSON
	}
	shown["done"] = true
	switch {
	case o.fails != nil:
		shown["error"] = o.fails
	case provider != nil:
		shown["response"] = struct {
			Type string `json:"@type"`
			Name string `json:"name"`
		}{"type.googleapis.com/google.iam.v1.WorkloadIdentityPoolProvider", provider.Name}
	}
	return shown
}

func answer(w http.ResponseWriter, result any, refused *refusal) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if refused == nil {
		_ = json.NewEncoder(w).Encode(result) // a client that has gone is not its business
		return
	}
	status := map[string]any{"code": refused.status, "message": refused.message, "status": statusNames[refused.status]}
	if refused.reason != "" {
		status["details"] = []any{map[string]any{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": refused.reason, "domain": "iam.googleapis.com", "metadata": refused.metadata,
		}}
	}
	w.WriteHeader(refused.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": status})
}

func (f *Fault) answer(w http.ResponseWriter) {
	switch {
	case f.Status == 0:
		panic(http.ErrAbortHandler)
	case f.Body != "":
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, f.Body)
	default:
		answer(w, nil, &refusal{status: f.Status, reason: f.Reason, message: f.Message})
	}
}
