package azure_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/azure"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/vectors"
)

const subject = "system:serviceaccount:production:payments"

var asked = registration.Wanted{Issuer: issuer, Cluster: "prod-eu1", Subject: subject}

// registered is what setup makes, which is healthy: of an identity and of an application.
func (m *azureAPI) registration(application string) azure.Registration {
	m.credentials["payments"] = properties{issuer, subject, []string{"api://AzureADTokenExchange"}}
	client := everythingAt(m.Server)
	client.Options.Retry.MaxRetries = 1
	r := azure.Registration{Identity: identity, Cloud: "public", Client: client}
	if application != "" {
		r.Identity, r.Application = "", application
	}
	return r
}

func credentialAs(change func(*properties)) func(*azureAPI) {
	return func(m *azureAPI) {
		p := m.credentials["payments"]
		change(&p)
		m.credentials["payments"] = p
	}
}

var harms = map[string]struct {
	harm   func(*azureAPI)
	check  string
	status registration.Status
	says   string
}{
	"no identity":      {func(m *azureAPI) { m.there, m.app = false, false }, "entra.identity", registration.Broken, "there is no"},
	"reads are denied": {func(m *azureAPI) { m.faults = slices.Repeat([]vectors.Answer{{Status: http.StatusForbidden}}, 5) }, "entra.identity", registration.Unknown, "lacks the right"},
	"Azure is down":    {func(m *azureAPI) { m.Close() }, "entra.identity", registration.Unknown, "refused"},
	"no credential":    {func(m *azureAPI) { delete(m.credentials, "payments") }, "entra.credential", registration.Broken, "AADSTS70021"},
	"another case":     {credentialAs(func(p *properties) { p.Subject = strings.ToUpper(p.Subject) }), "entra.credential", registration.Broken, "upper and lower case"},
	"a slash":          {credentialAs(func(p *properties) { p.Issuer += "/" }), "entra.credential", registration.Broken, "a slash at the end"},
	"another issuer":   {credentialAs(func(p *properties) { p.Issuer = "https://old.example.com" }), "entra.credential", registration.Broken, "of the issuer https://old.example.com"},
	"another audience": {credentialAs(func(p *properties) { p.Audiences = []string{"sts.amazonaws.com"} }), "entra.audience", registration.Broken, "AADSTS700212"},
	"twenty of them": {func(m *azureAPI) {
		for i := range 19 {
			m.credentials[fmt.Sprintf("other-%d", i)] = properties{issuer, fmt.Sprint(i), []string{"api://AzureADTokenExchange"}}
		}
	}, "entra.room", registration.Doubtful, "no other fits"},
}

func TestExamine(t *testing.T) {
	t.Parallel()
	provoked := map[string]bool{}
	for _, app := range []string{"", application} {
		m := start(t)
		for _, f := range m.registration(app).Examine(t.Context(), asked) {
			if f.Status != registration.Well {
				t.Errorf("healthy: %+v", f)
			}
		}
		for name, harm := range harms {
			m := start(t)
			r := m.registration(app)
			harm.harm(m)
			found := r.Examine(t.Context(), asked)
			provoked[harm.check] = true
			if !slices.ContainsFunc(found, func(f registration.Finding) bool {
				return f.Check == harm.check && f.Status == harm.status && strings.Contains(f.Detail, harm.says) && f.Remedy != ""
			}) {
				t.Errorf("%s (application %q): wanted is %s with the status %d, which says %q; found is:\n%+v", name, app, harm.check, harm.status, harm.says, found)
			}
			if len(m.writes) > 0 {
				t.Errorf("%s: it wrote %v", name, m.writes)
			}
		}
	}
	for _, check := range azure.Checks() {
		if !provoked[check] {
			t.Errorf("nothing provokes %s", check)
		}
	}
}

// Without a workload, the identity alone is looked at.
func TestExamineWithoutAWorkload(t *testing.T) {
	t.Parallel()
	m := start(t)
	if found := m.registration("").Examine(t.Context(), registration.Wanted{Issuer: issuer}); len(found) != 2 {
		t.Errorf("%+v", found)
	}
}

func TestNormal(t *testing.T) {
	t.Parallel()
	r, err := azure.Registration{Identity: "payments", Subscription: "00000000-0000-0000-0000-000000000001", ResourceGroup: "prod", Cloud: "china"}.Normal()
	if err != nil || r.Identity != identity || r.Audience != "api://AzureADTokenExchangeChina" {
		t.Errorf("%+v: %v", r, err)
	}
	for _, wrong := range []azure.Registration{
		{Identity: "payments", Cloud: "public"}, {Identity: identity, Cloud: "mars"}, {Application: "payments", Cloud: "public"}, {Identity: identity, Application: application, Cloud: "public"},
	} {
		if _, err := wrong.Normal(); err == nil {
			t.Errorf("%+v is taken", wrong)
		}
	}
}

// noLogin is nobody's.
type noLogin struct{}

func (noLogin) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{}, errors.New("az login was never run")
}

func TestExamineWithoutALogin(t *testing.T) {
	t.Parallel()
	m := start(t)
	r := m.registration("")
	r.Client.Credential = noLogin{}
	if found := r.Examine(t.Context(), asked); len(found) != 1 || found[0].Status != registration.Unknown {
		t.Errorf("%+v", found)
	}
}
