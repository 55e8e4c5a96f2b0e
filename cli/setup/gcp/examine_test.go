package gcp_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/oauth2"
	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/gcp"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// registered is what setup makes, which is healthy. The reader has its login.
func registered(t *testing.T) (*readable, gcp.Registration) {
	t.Helper()
	g := &readable{google: start(t)}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	report, err := trust.GCP{Pool: pool}.Report(trust.Selection{
		Accounts: []trust.ServiceAccount{{Namespace: "production", Name: "payments"}}, Clusters: []trust.Cluster{{ID: "prod-eu1", Issuer: issuer}},
	})
	if err != nil {
		t.Fatal(err)
	}
	made := report.Providers[0]
	g.pools[pool] = &iam.WorkloadIdentityPool{Name: pool, State: "ACTIVE"}
	g.providers[name] = &iam.WorkloadIdentityPoolProvider{
		Name: name, State: "ACTIVE", AttributeMapping: made.Mapping, AttributeCondition: made.Condition, Oidc: &iam.Oidc{IssuerUri: issuer},
	}
	g.policies[robot] = &iam.Policy{Etag: "A", Bindings: []*iam.Binding{{Role: "roles/iam.workloadIdentityUser", Members: []string{principal}}}}
	return g, gcp.Registration{Pool: pool, Impersonate: robot, Client: []option.ClientOption{
		option.WithEndpoint(server.URL + "/"), option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: login})),
	}}
}

// readable is google with what only a reader asks: the list of a pool's providers; and with reads that are denied.
type readable struct {
	*google
	denied string // the end of their paths
}

func (g *readable) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case g.denied != "" && strings.HasSuffix(r.URL.Path, g.denied):
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED")
	case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/providers"):
		g.list(w, r)
	default:
		g.serve(w, r)
	}
}

var published = jwks.Set{snapshottest.NewKey().Key}

var asked = registration.Wanted{Issuer: issuer, Cluster: "prod-eu1", Subject: "system:serviceaccount:production:payments", Keys: published}

// harms break one thing each in what setup made.
var harms = map[string]struct {
	harm   func(*readable, *gcp.Registration, *registration.Wanted)
	check  string
	status registration.Status
	says   string
}{
	"no pool":             {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { delete(g.pools, pool) }, "gcp.pool", registration.Broken, "there is no pool"},
	"a deleted pool":      {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.pools[pool].State = "DELETED" }, "gcp.pool", registration.Broken, "was deleted"},
	"a disabled pool":     {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.pools[pool].Disabled = true }, "gcp.pool", registration.Broken, "nobody gets in"},
	"no provider":         {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { delete(g.providers, name) }, "gcp.provider", registration.Broken, "no provider of " + issuer},
	"a deleted provider":  {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.providers[name].State = "DELETED" }, "gcp.provider", registration.Broken, "was deleted"},
	"a disabled provider": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.providers[name].Disabled = true }, "gcp.provider", registration.Broken, "nobody gets in"},
	"another issuer": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			g.providers[name].Oidc.IssuerUri += "/"
		},
		"gcp.provider", registration.Broken, `has the issuer "` + issuer + `/"`,
	},
	"audiences of others": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].Oidc.AllowedAudiences = []string{"vault"}
	}, "gcp.audience", registration.Broken, "takes the audiences vault"},
	"every pod's audience": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].Oidc.AllowedAudiences = []string{issuer}
	}, "gcp.audience", registration.Doubtful, "every pod's default token"},
	"stale uploaded keys": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].Oidc.JwksJson = string(jwks.Set{snapshottest.NewKey().Key}.Encode())
	}, "gcp.keys", registration.Broken, "they lack " + published[0].ID()},
	"an uploaded key that left": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].Oidc.JwksJson = string(jwks.Set{published[0], snapshottest.NewKey().Key}.Encode())
	}, "gcp.keys", registration.Doubtful, "still taken"},
	"uploaded keys and none published": {func(g *readable, _ *gcp.Registration, w *registration.Wanted) {
		g.providers[name].Oidc.JwksJson, w.Keys = string(published.Encode()), nil
	}, "gcp.keys", registration.Unknown, "there are none to compare them with"},
	"uploaded text": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.providers[name].Oidc.JwksJson = "{}" }, "gcp.keys", registration.Doubtful, "none that a publisher writes"},
	"the API's own mapping": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].AttributeMapping = map[string]string{"google.subject": "assertion.sub"}
	}, "gcp.mapping", registration.Doubtful, `google.subject is "assertion.sub"`},
	"no condition": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			g.providers[name].AttributeCondition = ""
		},
		"gcp.condition", registration.Doubtful, "every service account of the cluster",
	},
	"a condition of one's own": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.providers[name].AttributeCondition = "assertion.sub.startsWith('a')"
	}, "gcp.condition", registration.Doubtful, "doctor does not evaluate it"},
	"another workload": {func(_ *readable, _ *gcp.Registration, w *registration.Wanted) {
		w.Subject = "system:serviceaccount:production:reports"
	}, "gcp.condition", registration.Broken, "does not let system:serviceaccount:production:reports in"},
	"no binding": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.policies[robot] = &iam.Policy{} },
		"gcp.grant", registration.Broken, "no binding of roles/iam.workloadIdentityUser for " + principal,
	},
	"another role": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.policies[robot].Bindings[0].Role = "roles/iam.serviceAccountUser"
	}, "gcp.grant", registration.Broken, "no binding"},
	"a binding for the pool": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.policies[robot].Bindings[0].Members = []string{"principalSet://iam.googleapis.com/" + pool + "/*"}
	}, "gcp.grant", registration.Doubtful, "everybody in the pool"},
	"a binding with a condition": {func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
		g.policies[robot].Bindings[0].Condition = &iam.Expr{Expression: "request.time < timestamp('2027-01-01T00:00:00Z')"}
	}, "gcp.grant", registration.Doubtful, "request.time"},
	"no service account": {
		func(_ *readable, r *gcp.Registration, _ *registration.Wanted) {
			r.Impersonate = "mail@example-project.iam.gserviceaccount.com"
		},
		"gcp.grant", registration.Broken, "no service account mail@",
	},
	"reading the pool is denied": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			g.denied = "/workloadIdentityPools/kubernetes"
		},
		"gcp.pool", registration.Unknown, "iam.workloadIdentityPools.get",
	},
	"reading the provider is denied": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.denied = "/providers/prod-eu1" },
		"gcp.provider", registration.Unknown, "iam.workloadIdentityPoolProviders.get",
	},
	"looking for a provider of another name is denied": {func(g *readable, _ *gcp.Registration, w *registration.Wanted) {
		w.Cluster, g.denied = "europe", "/providers"
	}, "gcp.provider", registration.Unknown, "iam.workloadIdentityPoolProviders.list"},
	"reading the policy is denied": {
		func(g *readable, _ *gcp.Registration, _ *registration.Wanted) { g.denied = ":getIamPolicy" },
		"gcp.grant", registration.Unknown, "iam.serviceAccounts.getIamPolicy",
	},
	"another login": {func(g *readable, r *gcp.Registration, _ *registration.Wanted) {
		r.Client = []option.ClientOption{option.WithEndpoint(g.URL + "/"), option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "x"}))}
	}, "gcp.pool", registration.Unknown, "401"},
}

func TestExamine(t *testing.T) {
	t.Parallel()
	provoked := map[string]bool{}
	for name, harm := range harms {
		g, r := registered(t)
		w := asked
		harm.harm(g, &r, &w)
		found := r.Examine(t.Context(), w)
		provoked[harm.check] = true
		if !slices.ContainsFunc(found, func(f registration.Finding) bool {
			return f.Check == harm.check && f.Status == harm.status && strings.Contains(f.Detail, harm.says) && f.Remedy != ""
		}) {
			t.Errorf("%s: wanted is %s with the status %d, which says %q; found is:\n%+v", name, harm.check, harm.status, harm.says, found)
		}
		if len(g.writes) > 0 {
			t.Errorf("%s: it wrote %v", name, g.writes)
		}
	}
	for _, check := range gcp.Checks() {
		if !provoked[check] {
			t.Errorf("nothing provokes %s", check)
		}
	}
}

// What setup made is healthy under every name, and so are uploaded keys that are the published ones.
func TestExamineFindsNothing(t *testing.T) {
	t.Parallel()
	for title, change := range map[string]func(*readable, *gcp.Registration, *registration.Wanted){
		"as it is": func(*readable, *gcp.Registration, *registration.Wanted) {},
		"as setup makes it": func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			clear(g.pools)
			clear(g.providers)
			g.policies[robot].Bindings = nil
			g.says(payments+" --yes", "Done: create provider "+name)
		},
		"by the provider's name": func(_ *readable, r *gcp.Registration, _ *registration.Wanted) {
			r.Pool, r.Provider = "", name
		},
		"of a cluster that setup was told another name of": func(_ *readable, _ *gcp.Registration, w *registration.Wanted) { w.Cluster = "europe" },
		"with the published keys uploaded": func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			g.providers[name].Oidc.JwksJson = string(published.Encode())
		},
		"with several workloads": func(g *readable, _ *gcp.Registration, _ *registration.Wanted) {
			g.says("--service-account test/reports --yes")
		},
		"without a workload":       func(_ *readable, _ *gcp.Registration, w *registration.Wanted) { w.Subject = "" },
		"without Google's account": func(_ *readable, r *gcp.Registration, _ *registration.Wanted) { r.Impersonate = "" },
	} {
		g, r := registered(t)
		w := asked
		change(g, &r, &w)
		found := r.Examine(t.Context(), w)
		for _, f := range found {
			if f.Status != registration.Well {
				t.Errorf("%s: %+v", title, f)
			}
		}
		if len(found) < 4 {
			t.Errorf("%s: %+v", title, found)
		}
	}
}

// list has pages of one.
func (g *readable) list(w http.ResponseWriter, r *http.Request) {
	names := []string{""}
	for name := range g.providers {
		names = append(names, name)
	}
	slices.Sort(names)
	var page iam.ListWorkloadIdentityPoolProvidersResponse
	if i := slices.Index(names, r.URL.Query().Get("pageToken")); i+1 < len(names) {
		page.WorkloadIdentityPoolProviders = append(page.WorkloadIdentityPoolProviders, g.providers[names[i+1]])
		if i+2 < len(names) {
			page.NextPageToken = names[i+1]
		}
	}
	answer(w, page)
}
