package trust_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

func selection(accounts, namespaces, clusters int) trust.Selection {
	var s trust.Selection
	for i := range accounts {
		s.Accounts = append(s.Accounts, trust.ServiceAccount{Namespace: "production", Name: fmt.Sprintf("payments-%d", i)})
	}
	for i := range namespaces {
		s.Namespaces = append(s.Namespaces, fmt.Sprintf("team-%d", i))
	}
	for i := range clusters {
		s.Clusters = append(s.Clusters, trust.Cluster{ID: fmt.Sprintf("prod-%d", i), Issuer: fmt.Sprintf("https://oidc.example.com/prod-%d", i)})
	}
	return s
}

var account = trust.AWS{Partition: "aws", Account: "111122223333", Audience: trust.AWSAudience, Characters: trust.AWSCharacters}

// However a selection is split, everybody in it is let in once, by audience and subject, and nobody else.
func TestAWSLetsInEverybodyOnce(t *testing.T) {
	t.Parallel()
	for _, size := range [][3]int{{1, 0, 1}, {1, 0, 7}, {60, 0, 1}, {60, 2, 3}, {0, 90, 2}, {3, 3, 20}} {
		s := selection(size[0], size[1], size[2])
		r, err := account.Report(s)
		if err != nil {
			t.Fatalf("%v: %v", size, err)
		}
		var got, want []string
		for _, policy := range r.Policies {
			text, err := json.Marshal(policy.Document)
			if err != nil || len(text) != policy.Characters || len(text) > trust.AWSCharacters {
				t.Errorf("%v: a policy of %d characters is said to have %d (%v)", size, len(text), policy.Characters, err)
			}
			for _, statement := range policy.Document.Statement {
				got = append(got, admitted(t, statement)...)
			}
		}
		for _, c := range s.Clusters {
			for _, a := range s.Accounts {
				want = append(want, c.Issuer+" StringEquals "+a.Subject())
			}
			for _, n := range s.Namespaces {
				want = append(want, c.Issuer+" StringLike system:serviceaccount:"+n+":*")
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%v: admitted are %q, want %q", size, got, want)
		}
		if least := account.Document(s).Characters() / trust.AWSCharacters; len(r.Policies) > 2*(least+1)*size[2] {
			t.Errorf("%v: %d policies, %d might do", size, len(r.Policies), least+1)
		}
	}
}

// admitted are the subjects of a statement, which must have an audience, a subject and the issuer's provider, and nothing else.
func admitted(t *testing.T, s trust.AWSStatement) []string {
	t.Helper()
	host, found := strings.CutPrefix(s.Principal["Federated"], "arn:aws:iam::111122223333:oidc-provider/")
	if !found || s.Effect != "Allow" || s.Action != "sts:AssumeRoleWithWebIdentity" || !slices.Equal(s.Condition["StringEquals"][host+":aud"], trust.Values{trust.AWSAudience}) {
		t.Errorf("statement %+v", s)
	}
	var all []string
	for operator, keys := range s.Condition {
		for key, values := range keys {
			switch {
			case key == host+":sub":
				for _, v := range values {
					all = append(all, "https://"+host+" "+operator+" "+v)
				}
			case key != host+":aud":
				t.Errorf("a condition on %s", key)
			}
		}
	}
	if len(all) == 0 {
		t.Errorf("a statement without a subject: %+v", s)
	}
	return all
}

func TestAWSRefusesWhatCanNotBeSplit(t *testing.T) {
	t.Parallel()
	s := selection(0, 0, 1)
	s.Accounts = []trust.ServiceAccount{{Namespace: "production", Name: strings.Repeat("a", 2000)}}
	if _, err := account.Report(s); !errors.Is(err, trust.ErrTooLong) {
		t.Errorf("got %v", err)
	}
}

func TestGCPLimits(t *testing.T) {
	t.Parallel()
	pool := trust.GCP{Pool: "projects/1/locations/global/workloadIdentityPools/kubernetes"}
	r, err := pool.Report(selection(40, 0, 2))
	if err != nil || len(r.Providers) != 2 || len(r.Principals) != 80 {
		t.Errorf("%d providers, %d principals, %v", len(r.Providers), len(r.Principals), err)
	}
	if _, err := pool.Report(selection(100, 0, 1)); !errors.Is(err, trust.ErrTooLong) || !strings.Contains(err.Error(), "4096") {
		t.Errorf("a condition that is too long: %v", err)
	}
	long := selection(0, 0, 1)
	for i := range 25 { // all fit into the condition, but not into the mapping
		long.Accounts = append(long.Accounts, trust.ServiceAccount{Namespace: "production", Name: fmt.Sprintf("%s-%d", strings.Repeat("a", 90), i)})
	}
	r, err = pool.Report(long)
	if err != nil || r.Providers[0].Mapping["google.subject"] != "'prod-0:uid:' + assertion['kubernetes.io']['serviceaccount']['uid']" {
		t.Errorf("%v %v", r.Providers, err)
	}
}

func TestAzureNamesFit(t *testing.T) {
	t.Parallel()
	s := selection(0, 0, 1)
	for _, name := range []string{"a.b", "a-b", strings.Repeat("a", 253), strings.Repeat("a", 252) + "b"} {
		s.Accounts = append(s.Accounts, trust.ServiceAccount{Namespace: "production", Name: name})
	}
	r, err := trust.Azure{Audience: trust.AzureAudience}.Report(s)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, c := range r.Identities[0].Credentials {
		if len(c.Name) < 3 || len(c.Name) > 120 || strings.ContainsAny(c.Name, "./ ") {
			t.Errorf("name %q", c.Name)
		}
		names[c.Name] = true
	}
	if len(names) != len(s.Accounts) {
		t.Errorf("%d names for %d accounts", len(names), len(s.Accounts))
	}
}

// What is accepted holds nothing that a policy's language or a URL takes for its own.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"production/payments", "*/a", "production/pay*", "prod=https://oidc.example.com/prod", "https://a.example.com/b'c", "https://a.example.com:8443", "hTtps://a.example.com", "https://a%2eexample.com"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if a, err := trust.ParseServiceAccount(text); err == nil && (a.String() != text || strings.ContainsAny(text, `*?'"$: `)) {
			t.Errorf("account %q", text)
		}
		c, err := trust.ParseCluster(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(c.Issuer+c.ID, `*?'"$ #`) || !strings.HasPrefix(c.Issuer, "https://") || strings.HasSuffix(c.Issuer, "/") || c.ID == "" {
			t.Errorf("%q is %+v", text, c)
		}
	})
}

// The command and the Terraform module let in the same people: each expression of the one is written in the other.
func TestGCPIsAsInTerraform(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../deploy/terraform/gcp/trust/mapping/main.tf")
	if err != nil {
		t.Fatal(err)
	}
	module := strings.NewReplacer("${local.kubernetes}", "assertion['kubernetes.io']", "${id}", "prod-0").Replace(string(source))
	r, err := trust.GCP{Pool: "projects/1/locations/global/workloadIdentityPools/kubernetes"}.Report(selection(1, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	for attribute, expression := range r.Providers[0].Mapping {
		if !strings.Contains(module, `"`+expression+`"`) || attribute != "google.subject" && !strings.Contains(module, `"`+attribute+`"`) {
			t.Errorf("the module has no %s = %s", attribute, expression)
		}
	}
	for _, part := range []string{`'pod' in assertion['kubernetes.io']`, `assertion.sub in ['`, `/attribute.workload/`, `:uid:' + assertion['kubernetes.io']['serviceaccount']['uid']`} {
		if !strings.Contains(module, part) {
			t.Errorf("the module has no %s", part)
		}
	}
}
