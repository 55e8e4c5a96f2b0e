package gcp_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/gcp"
)

const (
	pool      = "projects/123456789012/locations/global/workloadIdentityPools/kubernetes"
	name      = pool + "/providers/prod-eu1"
	issuer    = "https://oidc.example.com/prod-eu1"
	robot     = "payments@example-project.iam.gserviceaccount.com"
	principal = "principalSet://iam.googleapis.com/" + pool + "/attribute.workload/prod-eu1/production/payments"
	unchanged = "It is so already: nothing to change."
	payments  = "--service-account production/payments --impersonate " + robot
)

func (g *google) run(arguments string) (string, error) { return run(g.T, g.URL, arguments) }

// run is the command with everything of Google at one server.
func run(t *testing.T, server, arguments string) (string, error) {
	t.Helper()
	c := gcp.Command(option.WithEndpoint(server+"/"), option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: login})))
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&out)
	c.SetArgs(append([]string{"--pool", pool, "--issuer", issuer}, strings.Fields(arguments)...))
	err := c.ExecuteContext(t.Context())
	if strings.Contains(out.String(), login) {
		t.Fatal("the login is printed")
	}
	return out.String(), err
}

func (g *google) says(arguments string, want ...string) {
	g.Helper()
	out, err := g.run(arguments)
	if err != nil {
		g.Fatalf("setup gcp %s: %v\n%s", arguments, err, out)
	}
	for _, text := range want {
		if !strings.Contains(out, text) {
			g.Fatalf("setup gcp %s says nothing of %q:\n%s", arguments, text, out)
		}
	}
}

func (g *google) condition(want string) {
	g.Helper()
	if got := g.providers[name].AttributeCondition; got != want {
		g.Fatalf("the condition is %s, want %s", got, want)
	}
}

func TestSetup(t *testing.T) {
	t.Parallel()
	g := start(t)
	viewer := &iam.Binding{Role: "roles/iam.serviceAccountViewer", Members: []string{"user:a@example.com"}, Condition: &iam.Expr{Expression: "true", Title: "t"}}
	g.policies[robot] = &iam.Policy{Etag: "A", Version: 3, Bindings: []*iam.Binding{viewer}}

	g.says(payments+" --dry-run", "create", "pool "+pool, "provider "+name, "may be acted as by "+principal)
	if len(g.writes) != 0 {
		t.Fatalf("--dry-run wrote: %v", g.writes)
	}
	g.says(payments+" --yes", "Done: create provider "+name)
	g.condition("'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:production:payments']")
	made := g.providers[name]
	if made.Oidc.IssuerUri != issuer || len(made.Oidc.AllowedAudiences) != 0 || made.AttributeMapping["attribute.pod"] == "" {
		t.Errorf("made %+v", made)
	}
	if b := g.policies[robot].Bindings; len(b) != 2 || b[0].Condition == nil || b[1].Members[0] != principal {
		t.Errorf("bindings %+v", b)
	}
	writes := len(g.writes)
	g.says(payments+" --yes", unchanged)
	if len(g.writes) != writes {
		t.Errorf("a second run wrote: %v", g.writes[writes:])
	}

	// Drift is repaired; keys that a publisher uploaded stay.
	made.AttributeMapping["google.subject"], made.AttributeCondition, made.Oidc.JwksJson = "assertion.sub", "", `{"keys":[]}`
	g.policies[robot].Bindings = g.policies[robot].Bindings[:1]
	g.says(payments+" --yes", `google.subject 'prod-eu1:' + assertion.sub, instead of "assertion.sub"`, "instead of ", "policy of service account "+robot)
	g.says(payments+" --yes", unchanged)
	if g.providers[name].Oidc.JwksJson == "" {
		t.Error("uploaded keys are lost")
	}

	// A second account comes to the first, and goes again; with the last the provider goes, and the pool stays.
	g.says("--service-account production/reports --yes", "system:serviceaccount:production:reports", "grants name")
	g.condition("'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:production:payments', 'system:serviceaccount:production:reports']")
	g.says(payments+" --remove --yes", "may no longer be acted as by "+principal)
	g.condition("'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:production:reports']")
	if b := g.policies[robot].Bindings; len(b) != 1 {
		t.Errorf("bindings %+v", b)
	}
	g.says("--service-account production/reports --remove --yes", "Done: delete provider", "the pool stays")
	if g.providers[name].State != "DELETED" || g.pools[pool] == nil {
		t.Errorf("provider %s", g.providers[name].State)
	}
	g.says("--service-account production/reports --remove --yes", unchanged)
	if _, err := g.run(payments + " --yes"); !errors.Is(err, gcp.ErrProvider) || !strings.Contains(err.Error(), "undelete") {
		t.Errorf("a deleted provider: %v", err)
	}
	// It comes back for whom is asked for, and not for those of before.
	g.says(payments+" --undelete --yes", "undelete", "Done: undelete provider "+name, "instead of ")
	g.condition("'pod' in assertion['kubernetes.io'] && assertion.sub in ['system:serviceaccount:production:payments']")
	g.says(payments+" --undelete --yes", unchanged)
}

// A provider of somebody else's is refused, and nothing is written.
func TestForeignProviders(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*iam.WorkloadIdentityPoolProvider){
		"another issuer":   func(p *iam.WorkloadIdentityPoolProvider) { p.Oidc.IssuerUri = "https://other.example.com" },
		"no OIDC provider": func(p *iam.WorkloadIdentityPoolProvider) { p.Oidc = nil },
		"a condition of its own": func(p *iam.WorkloadIdentityPoolProvider) {
			p.AttributeCondition = "assertion.sub.startsWith('system:')"
		},
		"ours, and more": func(p *iam.WorkloadIdentityPoolProvider) {
			p.AttributeCondition = "assertion.sub in ['system:serviceaccount:a:b'] || true"
		},
	} {
		g := start(t)
		g.pools[pool] = &iam.WorkloadIdentityPool{Name: pool}
		g.providers[name] = &iam.WorkloadIdentityPoolProvider{Name: name, Oidc: &iam.Oidc{IssuerUri: issuer}}
		change(g.providers[name])
		for _, remove := range []string{"", " --remove"} {
			if _, err := g.run("--service-account production/payments --yes" + remove); !errors.Is(err, gcp.ErrProvider) || len(g.writes) != 0 {
				t.Errorf("%s%s: %v, wrote %v", what, remove, err, g.writes)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	g := start(t)
	for arguments, want := range map[string]string{
		"":                              "nobody to let in",
		"--service-account a/*":         "a wildcard",
		"--service-account a/b -o json": "want --dry-run or --yes",
		"--service-account a/b --impersonate me@example.com":                "want NAME@PROJECT",
		"--service-account a/b --pool kubernetes":                           "with the project's number",
		"--service-account a/b --issuer https://other.example.com/prod-eu1": "the same ID",
	} {
		if _, err := g.run(arguments); !errors.Is(err, command.ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", arguments, err, want)
		}
	}
	if _, err := g.run(payments + " --yes"); err == nil || !strings.Contains(err.Error(), robot) || len(g.writes) != 0 {
		t.Errorf("a service account that is not there: %v, wrote %v", err, g.writes)
	}
}
