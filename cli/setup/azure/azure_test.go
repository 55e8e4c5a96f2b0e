package azure_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vectors"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

const (
	issuer    = "https://oidc.example.com/prod-eu1"
	unchanged = "It is so already: nothing to change."
	payments  = "--service-account production/payments"
	onTheOne  = "--identity " + identity + " "
	onTheApp  = "--application " + application + " "
)

type static struct{}

func (static) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: login, ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// everythingAt is a client for whom all of Azure is one server.
func everythingAt(server *httptest.Server) *azure.Client {
	return &azure.Client{Credential: static{}, Options: azcore.ClientOptions{
		Transport: server.Client(), Retry: policy.RetryOptions{RetryDelay: time.Millisecond},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: server.URL, Audience: "https://management.azure.com"},
			azure.Graph:           {Endpoint: server.URL, Audience: "https://graph.microsoft.com"},
		}},
	}}
}

func run(t *testing.T, server *httptest.Server, arguments string) (string, error) {
	t.Helper()
	c := azure.Command(everythingAt(server))
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"--issuer", issuer}, strings.Fields(arguments)...))
	err := c.ExecuteContext(t.Context())
	if strings.Contains(out.String(), login) {
		t.Fatal("the login is printed")
	}
	return out.String(), err
}

func (m *azureAPI) says(arguments string, want ...string) {
	m.Helper()
	out, err := run(m.T, m.Server, arguments)
	if err != nil {
		m.Fatalf("setup azure %s: %v\n%s", arguments, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			m.Fatalf("setup azure %s says nothing of %q:\n%s", arguments, text, out)
		}
	}
}

// The command asks exactly what is documented, and understands the documented answers; and the stand-in of the other tests answers so, too.
func TestVectors(t *testing.T) {
	t.Parallel()
	all := vectors.Load(t, "testdata/vectors")
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v.Run(t, httptest.NewTLSServer, func(server *httptest.Server, arguments string) (string, error) { return run(t, server, arguments) })
			m := start(t)
			m.there, m.calm = false, true
			v.Hold(t, all, m, m.URL, login, func(a vectors.Answer) { m.faults = append(m.faults, a) })
		})
	}
}

func TestSetup(t *testing.T) {
	t.Parallel()
	for _, owner := range []string{onTheOne, onTheApp} {
		m := start(t)
		foreign := properties{"https://token.actions.githubusercontent.com", "repo:example/app:ref:refs/heads/main", []string{trust.AzureAudience}}
		m.credentials["github"] = foreign
		m.says(owner+payments+" --dry-run", "create", "subject system:serviceaccount:production:payments of "+issuer)
		if len(m.writes) != 0 {
			t.Fatalf("--dry-run wrote %v", m.writes)
		}
		m.says(owner+payments+" --service-account production/reports --yes", "Done: create federated credential kube-prod-eu1-production-reports")
		m.says(owner+payments+" --service-account production/reports --yes", unchanged)
		// One that somebody made under another name is adopted, and keeps it; what drifted is repaired.
		m.credentials["by-hand"] = properties{issuer, "system:serviceaccount:production:mail", []string{"api://wrong"}}
		m.says(owner+"--service-account production/mail --yes", "update", "federated credential by-hand", "instead of system:serviceaccount:production:mail of "+issuer+", audience api://wrong")
		m.says(owner+"--service-account production/mail --yes", unchanged)
		m.says(owner+payments+" --remove --yes", "Done: delete federated credential kube-prod-eu1-production-payments", "the identity and its roles stay")
		m.says(owner+payments+" --remove --yes", unchanged)
		if len(m.credentials) != 3 || m.credentials["github"].Issuer != foreign.Issuer {
			t.Errorf("left are %v", m.credentials)
		}
	}
}

// An identity that setup made goes with its last credential, and no other does.
func TestTheIdentityItself(t *testing.T) {
	t.Parallel()
	m := start(t)
	m.there = false
	byName := "--identity payments --resource-group prod --subscription 00000000-0000-0000-0000-000000000001 "
	m.says(byName+"--location westeurope "+payments+" --dry-run", "create", "identity "+identity, "in westeurope")
	if m.there || len(m.writes) != 0 {
		t.Fatalf("--dry-run wrote %v", m.writes)
	}
	m.says(byName+"--location westeurope "+payments+" --yes -o json", `"result": "pods log in with AZURE_CLIENT_ID=00000000-0000-0000-0000-00000000000c`)
	m.says(byName+"--location northeurope "+payments+" --yes", unchanged, "the identity is in westeurope, not in northeurope, and can't move")
	m.credentials["github"] = properties{"https://token.actions.githubusercontent.com", "repo:example/app", []string{trust.AzureAudience}}
	m.says(byName+payments+" --remove --yes", "the identity and its roles stay")
	delete(m.credentials, "github")
	m.says(byName+payments+" --remove --yes", "Done: delete identity")
	m.says(byName+payments+" --remove --yes", unchanged)
	if m.there {
		t.Error("the identity is still there")
	}
	m.there, m.tags = true, map[string]string{"managed-by": "terraform"}
	m.says(byName + payments + " --yes")
	m.says(byName+payments+" --remove --yes", "the identity and its roles stay")
	if !m.there || slices.Contains(m.writes[4:], "DELETE identity") {
		t.Errorf("another's identity: %v", m.writes)
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	m := start(t)
	for i := range 20 {
		m.credentials[fmt.Sprintf("other-%d", i)] = properties{"https://other.example.com", fmt.Sprint(i), []string{trust.AzureAudience}}
	}
	if _, err := run(t, m.Server, onTheOne+payments+" --yes"); !errors.Is(err, trust.ErrTooLong) || len(m.writes) != 0 {
		t.Errorf("the 21st credential: %v, wrote %v", err, m.writes)
	}
	m.there, m.app = false, false
	for _, owner := range []string{onTheOne, onTheApp} {
		if _, err := run(t, m.Server, owner+payments+" --yes"); !errors.Is(err, azure.ErrIdentity) {
			t.Errorf("no identity: %v", err)
		}
		m.says(owner+payments+" --remove --yes", unchanged)
	}
	m.group = false
	if _, err := run(t, m.Server, onTheOne+payments+" --location westeurope --yes"); !errors.Is(err, azure.ErrGroup) || len(m.writes) != 0 {
		t.Errorf("no group: %v", err)
	}
	m.says(onTheOne+payments+" --remove --yes", unchanged)
}

func TestWrongCalls(t *testing.T) {
	t.Parallel()
	m := start(t)
	for arguments, want := range map[string]string{
		onTheOne: "nobody to let in",
		onTheOne + "--allow-namespace production":                    "no wildcards",
		onTheOne + payments + " --cloud moon":                        "want public",
		onTheOne + payments + " -o json":                             "want --dry-run or --yes",
		onTheOne + payments + " --resource-group prod":               "want one or the other",
		onTheOne + payments + " --location Mars!":                    "want the name of a region",
		onTheOne + onTheApp + payments:                               "want --identity or --application",
		payments:                                                     "want --identity or --application",
		payments + " --identity payments":                            "want a name with --resource-group",
		payments + " --identity payments --resource-group prod.":     "AZURE_SUBSCRIPTION_ID",
		payments + " --application payments":                         "want the client ID",
		onTheApp + payments + " --location westeurope":               "setup makes none",
		onTheOne + payments + " --audience sts.amazonaws.com":        "Entra takes",
		onTheOne + "--service-account a/b --issuer http://a.example": "want https://HOST",
	} {
		if _, err := run(t, m.Server, arguments); !errors.Is(err, command.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
}
