package azure_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vectors"
)

const (
	group       = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod"
	identity    = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/payments"
	application = "00000000-0000-0000-0000-000000000002"
	login       = "eyJ.a-login"
)

type properties struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// azureAPI is a stand-in for Azure's resource manager and for Microsoft Graph, in the shapes of testdata/vectors: pages, names by pattern, one subject of an issuer
// once, one audience, 20 credentials, and one write at a time, which it answers with 409 first.
type azureAPI struct {
	*testing.T
	*httptest.Server
	mu          sync.Mutex
	group       bool // whether the resource group is there
	there       bool // whether the identity is
	app         bool // whether the application is
	location    string
	tags        map[string]string
	credentials map[string]properties // of the one or the other, by name
	writes      []string
	calm        bool // no 409 at first
	busy        bool
	faults      []vectors.Answer
}

func start(t *testing.T) *azureAPI {
	t.Helper()
	m := &azureAPI{T: t, group: true, there: true, app: true, location: "westeurope", credentials: map[string]properties{}}
	m.Server = httptest.NewTLSServer(m)
	t.Cleanup(m.Close)
	return m
}

var credentialName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}$`)

func (m *azureAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest, ofIdentity := strings.CutPrefix(r.URL.Path, identity)
	ofGraph, isGraph := strings.CutPrefix(r.URL.Path, "/v1.0/applications(appId='"+application+"')/federatedIdentityCredentials")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+login:
		m.refuse(w, http.StatusUnauthorized, "AuthenticationFailed")
	case len(m.faults) > 0:
		fault := m.faults[0]
		m.faults = m.faults[1:]
		body, _ := fault.Body.(map[string]any)
		code, _ := body["error"].(map[string]any)
		for name, value := range fault.Headers {
			w.Header().Set(name, value)
		}
		refuse := m.refuse
		if strings.HasPrefix(r.URL.Path, "/v1.0/") {
			refuse = m.refuseGraph
		}
		refuse(w, fault.Status, fmt.Sprint(code["code"]))
	case isGraph && m.app:
		m.graph(w, r, strings.TrimPrefix(ofGraph, "/"))
	case isGraph:
		m.refuseGraph(w, http.StatusNotFound, "Request_ResourceNotFound")
	case r.URL.Query().Get("api-version") != "2024-11-30":
		m.refuse(w, http.StatusBadRequest, "InvalidApiVersionParameter")
	case !m.group:
		m.refuse(w, http.StatusNotFound, "ResourceGroupNotFound")
	case ofIdentity && rest == "":
		m.identity(w, r)
	case !ofIdentity || !m.there:
		m.refuse(w, http.StatusNotFound, "ResourceNotFound")
	case r.Method == http.MethodGet && rest == "/federatedIdentityCredentials":
		m.list(w, r)
	case credentialName.MatchString(strings.TrimPrefix(rest, "/federatedIdentityCredentials/")):
		m.credential(w, r, strings.TrimPrefix(rest, "/federatedIdentityCredentials/"))
	default:
		m.refuse(w, http.StatusBadRequest, "BadRequest")
	}
}

func (m *azureAPI) refuse(w http.ResponseWriter, status int, code string) {
	m.answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": code}})
}

func (m *azureAPI) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (m *azureAPI) identity(w http.ResponseWriter, r *http.Request) {
	resource := func() map[string]any {
		is := map[string]any{
			"id": identity, "name": "payments", "type": "Microsoft.ManagedIdentity/userAssignedIdentities", "location": m.location,
			"properties": map[string]string{
				"clientId": "00000000-0000-0000-0000-00000000000c", "principalId": "00000000-0000-0000-0000-00000000000d",
				"tenantId": "00000000-0000-0000-0000-00000000000e", "isolationScope": "None",
			},
		}
		if m.tags != nil {
			is["tags"] = m.tags
		}
		return is
	}
	switch {
	case r.Method == http.MethodPut:
		var body struct {
			Location string            `json:"location"`
			Tags     map[string]string `json:"tags"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Location == "" || m.there && body.Location != m.location {
			m.refuse(w, http.StatusBadRequest, "InvalidResourceLocation")
			return
		}
		status := map[bool]int{true: http.StatusOK, false: http.StatusCreated}[m.there]
		m.there, m.location, m.tags, m.writes = true, body.Location, body.Tags, append(m.writes, "PUT identity")
		m.answer(w, status, resource())
	case r.Method == http.MethodDelete && !m.there:
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		m.there, m.credentials, m.writes = false, map[string]properties{}, append(m.writes, "DELETE identity")
		w.WriteHeader(http.StatusOK)
	case !m.there:
		m.refuse(w, http.StatusNotFound, "ResourceNotFound")
	default:
		m.answer(w, http.StatusOK, resource())
	}
}

func resourceOf(name string, p properties) map[string]any {
	return map[string]any{
		"id": identity + "/federatedIdentityCredentials/" + name, "name": name, "type": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials", "properties": p,
	}
}

// list has pages of one.
func (m *azureAPI) list(w http.ResponseWriter, r *http.Request) {
	names := slices.Sorted(maps.Keys(m.credentials))
	page := map[string]any{"value": []any{}}
	after := r.URL.Query().Get("$skipToken")
	if i := slices.IndexFunc(names, func(name string) bool { return name > after }); i >= 0 {
		page["value"] = []any{resourceOf(names[i], m.credentials[names[i]])}
		if i+1 < len(names) {
			page["nextLink"] = m.URL + r.URL.Path + "?api-version=2024-11-30&$skipToken=" + names[i]
		}
	}
	m.answer(w, http.StatusOK, page)
}

// conflict is what both APIs refuse.
func (m *azureAPI) conflict(name string, p properties) (status int, code string) {
	for other, is := range m.credentials {
		if other != name && is.Issuer == p.Issuer && is.Subject == p.Subject {
			return http.StatusConflict, "ExistingFederatedIdentityCredential"
		}
	}
	if _, there := m.credentials[name]; !there && len(m.credentials) == 20 || len(p.Audiences) != 1 {
		return http.StatusBadRequest, "BadRequest"
	}
	return 0, ""
}

func (m *azureAPI) credential(w http.ResponseWriter, r *http.Request, name string) {
	_, there := m.credentials[name]
	if r.Method == http.MethodDelete {
		m.writes = append(m.writes, "DELETE "+name)
		delete(m.credentials, name)
		w.WriteHeader(map[bool]int{true: http.StatusOK, false: http.StatusNoContent}[there])
		return
	}
	var body struct {
		Properties properties `json:"properties"`
	}
	if m.busy = !m.busy; m.busy && !m.calm {
		m.refuse(w, http.StatusConflict, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity")
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPut {
		m.refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	if status, code := m.conflict(name, body.Properties); status != 0 {
		m.refuse(w, status, code)
		return
	}
	m.writes = append(m.writes, "PUT "+name)
	m.credentials[name] = body.Properties
	m.answer(w, map[bool]int{true: http.StatusOK, false: http.StatusCreated}[there], resourceOf(name, body.Properties))
}

func (m *azureAPI) refuseGraph(w http.ResponseWriter, status int, code string) {
	m.answer(w, status, map[string]any{"error": map[string]any{
		"code": code, "message": code, "innerError": map[string]string{"date": "2026-11-21T08:00:00", "request-id": application, "client-request-id": application},
	}})
}

func graphOf(name string, p properties) map[string]any {
	return map[string]any{"id": "id-of-" + name, "name": name, "issuer": p.Issuer, "subject": p.Subject, "audiences": p.Audiences, "description": nil}
}

// graph has pages of one, too. A credential is named by its ID, and its name never changes.
func (m *azureAPI) graph(w http.ResponseWriter, r *http.Request, id string) {
	name := strings.TrimPrefix(id, "id-of-")
	_, there := m.credentials[name]
	var body struct {
		properties
		Name string `json:"name"`
	}
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || (r.Method == http.MethodPost) != credentialName.MatchString(body.Name) {
			m.refuseGraph(w, http.StatusBadRequest, "Request_BadRequest")
			return
		}
	}
	switch {
	case r.Method == http.MethodGet && id == "":
		m.graphList(w, r)
	case r.Method != http.MethodPost && !there:
		m.refuseGraph(w, http.StatusNotFound, "Request_ResourceNotFound")
	case r.Method == http.MethodDelete:
		delete(m.credentials, name)
		m.writes = append(m.writes, "DELETE "+name)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch:
		m.credentials[name], m.writes = body.properties, append(m.writes, "PATCH "+name)
		w.WriteHeader(http.StatusNoContent)
	default:
		if status, _ := m.conflict(body.Name, body.properties); status != 0 {
			m.refuseGraph(w, status, "Request_MultipleObjectsWithSameKeyValue")
			return
		}
		m.credentials[body.Name], m.writes = body.properties, append(m.writes, "POST "+body.Name)
		made := graphOf(body.Name, body.properties)
		made["@odata.context"] = "https://graph.microsoft.com/v1.0/$metadata#applications('1')/federatedIdentityCredentials/$entity"
		m.answer(w, http.StatusCreated, made)
	}
}

func (m *azureAPI) graphList(w http.ResponseWriter, r *http.Request) {
	names := slices.Sorted(maps.Keys(m.credentials))
	page := map[string]any{"value": []any{}, "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#applications('1')/federatedIdentityCredentials"}
	after := r.URL.Query().Get("$skiptoken")
	if i := slices.IndexFunc(names, func(name string) bool { return name > after }); i >= 0 {
		page["value"] = []any{graphOf(names[i], m.credentials[names[i]])}
		if i+1 < len(names) {
			page["@odata.nextLink"] = m.URL + r.URL.Path + "?$skiptoken=" + names[i]
		}
	}
	m.answer(w, http.StatusOK, page)
}
