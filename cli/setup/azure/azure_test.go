package azure_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

const (
	identity  = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/prod/providers/Microsoft.ManagedIdentity/userAssignedIdentities/payments"
	issuer    = "https://oidc.example.com/prod-eu1"
	login     = "eyJ.a-login"
	unchanged = "It is so already: nothing to change."
	payments  = "--service-account production/payments"
)

type properties struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// manager is a stand-in for Azure's resource manager, in the documented shapes of Microsoft.ManagedIdentity: pages, names by pattern, one subject of an issuer once,
// one audience, 20 credentials, and one write at a time, which it answers with 409 first.
type manager struct {
	*testing.T
	*httptest.Server
	mu          sync.Mutex
	there       bool
	credentials map[string]properties
	writes      []string
	busy        bool
}

func start(t *testing.T) *manager {
	t.Helper()
	m := &manager{T: t, there: true, credentials: map[string]properties{}}
	m.Server = httptest.NewTLSServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.Close)
	return m
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_-]{2,119}$`)

func (m *manager) serve(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest, found := strings.CutPrefix(r.URL.Path, identity)
	name := strings.TrimPrefix(rest, "/federatedIdentityCredentials/")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+login:
		m.refuse(w, http.StatusUnauthorized, "AuthenticationFailed")
	case r.URL.Query().Get("api-version") != "2024-11-30":
		m.refuse(w, http.StatusBadRequest, "InvalidApiVersionParameter")
	case !found || !m.there:
		m.refuse(w, http.StatusNotFound, "ResourceNotFound")
	case r.Method == http.MethodGet && rest == "":
		m.answer(w, http.StatusOK, map[string]string{"id": identity})
	case r.Method == http.MethodGet && rest == "/federatedIdentityCredentials":
		m.list(w, r)
	case r.Method == http.MethodPut && namePattern.MatchString(name):
		m.put(w, r, name)
	case r.Method == http.MethodDelete && namePattern.MatchString(name):
		m.writes = append(m.writes, "DELETE "+name)
		delete(m.credentials, name)
		w.WriteHeader(http.StatusOK)
	default:
		m.refuse(w, http.StatusBadRequest, "BadRequest")
	}
}

func (m *manager) refuse(w http.ResponseWriter, status int, code string) {
	m.answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": code}})
}

func (m *manager) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// list has pages of one.
func (m *manager) list(w http.ResponseWriter, r *http.Request) {
	names := slices.Sorted(maps.Keys(m.credentials))
	page := struct {
		Value    []any  `json:"value"`
		NextLink string `json:"nextLink,omitempty"`
	}{Value: []any{}}
	after := r.URL.Query().Get("$skiptoken")
	if i := slices.IndexFunc(names, func(name string) bool { return name > after }); i >= 0 {
		page.Value = append(page.Value, map[string]any{"name": names[i], "properties": m.credentials[names[i]]})
		if i+1 < len(names) {
			page.NextLink = m.URL + r.URL.Path + "?api-version=2024-11-30&$skiptoken=" + names[i]
		}
	}
	m.answer(w, http.StatusOK, page)
}

func (m *manager) put(w http.ResponseWriter, r *http.Request, name string) {
	if m.busy = !m.busy; m.busy {
		m.refuse(w, http.StatusConflict, "ConcurrentFederatedIdentityCredentialsWritesForSingleManagedIdentity")
		return
	}
	var body struct {
		Properties properties `json:"properties"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Properties.Audiences) != 1 {
		m.refuse(w, http.StatusBadRequest, "BadRequest")
		return
	}
	for other, p := range m.credentials {
		if other != name && p.Issuer == body.Properties.Issuer && p.Subject == body.Properties.Subject {
			m.refuse(w, http.StatusConflict, "ExistingFederatedIdentityCredential")
			return
		}
	}
	if _, there := m.credentials[name]; !there && len(m.credentials) == 20 {
		m.refuse(w, http.StatusBadRequest, "TooManyFederatedIdentityCredentials")
		return
	}
	m.writes = append(m.writes, "PUT "+name)
	m.credentials[name] = body.Properties
	m.answer(w, http.StatusCreated, body)
}

type static struct{}

func (static) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: login, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (m *manager) run(arguments string) (string, error) {
	m.Helper()
	c := azure.Command(&azure.Client{Credential: static{}, Options: azcore.ClientOptions{
		Transport: m.Client(), Retry: policy.RetryOptions{RetryDelay: time.Millisecond},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: m.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: m.URL, Audience: "https://management.azure.com"},
		}},
	}})
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"--identity", identity, "--issuer", issuer}, strings.Fields(arguments)...))
	err := c.ExecuteContext(m.Context())
	if strings.Contains(out.String(), login) {
		m.Fatal("the login is printed")
	}
	return out.String(), err
}

func (m *manager) says(arguments string, want ...string) {
	m.Helper()
	out, err := m.run(arguments)
	if err != nil {
		m.Fatalf("setup azure %s: %v\n%s", arguments, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			m.Fatalf("setup azure %s says nothing of %q:\n%s", arguments, text, out)
		}
	}
}

func TestSetup(t *testing.T) {
	t.Parallel()
	m := start(t)
	foreign := properties{"https://token.actions.githubusercontent.com", "repo:example/app:ref:refs/heads/main", []string{trust.AzureAudience}}
	m.credentials["github"] = foreign
	m.says(payments+" --dry-run", "create", "subject system:serviceaccount:production:payments of "+issuer)
	if len(m.writes) != 0 {
		t.Fatalf("--dry-run wrote %v", m.writes)
	}
	m.says(payments+" --service-account production/reports --yes", "Done: create federated credential kube-prod-eu1-production-reports")
	m.says(payments+" --service-account production/reports --yes", unchanged)
	// One that somebody made under another name is adopted; what drifted is repaired.
	m.credentials["by-hand"] = properties{issuer, "system:serviceaccount:production:mail", []string{"api://wrong"}}
	m.says("--service-account production/mail --yes", "update", "federated credential by-hand", "instead of system:serviceaccount:production:mail of "+issuer+", audience api://wrong")
	m.says("--service-account production/mail --yes", unchanged)
	m.says(payments+" --remove --yes", "Done: delete federated credential kube-prod-eu1-production-payments", "the identity and its roles stay")
	m.says(payments+" --remove --yes", unchanged)
	if len(m.credentials) != 3 || m.credentials["github"].Issuer != foreign.Issuer {
		t.Errorf("left are %v", m.credentials)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	m := start(t)
	for i := range 20 {
		m.credentials[fmt.Sprintf("other-%d", i)] = properties{"https://other.example.com", fmt.Sprint(i), []string{trust.AzureAudience}}
	}
	if _, err := m.run(payments + " --yes"); !errors.Is(err, trust.ErrTooLong) || len(m.writes) != 0 {
		t.Errorf("the 21st credential: %v, wrote %v", err, m.writes)
	}
	m.there = false
	if _, err := m.run(payments + " --yes"); !errors.Is(err, azure.ErrIdentity) {
		t.Errorf("no identity: %v", err)
	}
	m.says(payments+" --remove --yes", unchanged)
	for arguments, want := range map[string]string{
		"":                                "nobody to let in",
		"--allow-namespace production":    "no wildcards",
		payments + " --cloud moon":        "want public",
		payments + " --identity payments": "want /subscriptions/",
		payments + " -o json":             "want --dry-run or --yes",
	} {
		if _, err := m.run(arguments); !errors.Is(err, command.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
}

func TestPrint(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"cli", "terraform"} {
		out, err := start(t).run(payments + " --print " + form)
		golden, missing := os.ReadFile("testdata/" + form)
		if err != nil || missing != nil || out != string(golden) {
			t.Errorf("%v %v\n%s", err, missing, out)
		}
	}
}
