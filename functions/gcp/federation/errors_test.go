package federation

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	googleiam "google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/test/gcp/iam"
)

// Every refusal leaves the keys as they are, and says whose provider it was about and what would help.
func TestRefusals(t *testing.T) {
	t.Parallel()
	edit := func(change func(*googleiam.WorkloadIdentityPoolProvider)) func(*testing.T, *rig) {
		return func(t *testing.T, r *rig) { t.Helper(); r.google.Edit(t, r.name, change) }
	}
	fail := func(fault iam.Fault) func(*testing.T, *rig) {
		return func(_ *testing.T, r *rig) { r.google.Fail(fault) }
	}
	for name, test := range map[string]struct {
		given func(*testing.T, *rig)
		want  string
		tries int // of the call that failed; 0: not looked at
		call  string
	}{
		"no such provider": {given: func(_ *testing.T, r *rig) { r.name = iam.Name("another") }, want: "there is none of this name"},
		"deleted": {given: edit(func(p *googleiam.WorkloadIdentityPoolProvider) {
			p.State, p.ExpireTime = "DELETED", "2026-12-24T18:00:00Z"
		}), want: "gone for good at 2026-12-24T18:00:00Z"},
		"AWS":                  {given: edit(func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc, p.Aws = nil, &googleiam.Aws{} }), want: "not an OIDC provider"},
		"another issuer":       {given: edit(func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.IssuerUri += "-2" }), want: `issuer "` + issuer + `-2"`},
		"a slash at the end":   {given: edit(func(p *googleiam.WorkloadIdentityPoolProvider) { p.Oidc.IssuerUri += "/" }), want: "to the letter"},
		"may not read":         {given: func(_ *testing.T, r *rig) { r.google.Grant(iam.UpdatePermission) }, want: "custom role with " + getPermission, tries: 1, call: iam.Get},
		"may not write":        {given: func(_ *testing.T, r *rig) { r.google.Grant(iam.GetPermission) }, want: "custom role with " + updatePermission, tries: 1, call: iam.Patch},
		"API off":              {given: fail(iam.Fault{Call: iam.Get, Status: 403, Reason: "SERVICE_DISABLED", Message: "It is disabled."}), want: "enable iam.googleapis.com"},
		"quota of reads":       {given: fail(iam.Fault{Call: iam.Get, Status: 429, Message: "Quota exceeded"}), want: "look at the quotas", tries: 1, call: iam.Get},
		"quota of writes":      {given: fail(iam.Fault{Call: iam.Patch, Status: 429, Message: "Quota exceeded"}), want: "look at the quotas", tries: 1, call: iam.Patch},
		"write refused":        {given: fail(iam.Fault{Call: iam.Patch, Status: 400, Message: "oidc.jwks_json is bad"}), want: "oidc.jwks_json is bad", tries: 1, call: iam.Patch},
		"another operation":    {given: fail(iam.Fault{Call: iam.Patch, Status: 409, Message: "Busy"}), want: "another change is under way", tries: 1, call: iam.Patch},
		"unwell on reading":    {given: fail(iam.Fault{Call: iam.Get, Times: attempts, Status: 503, Message: "Later"}), want: "not well: Google says HTTP 503: Later", tries: attempts, call: iam.Get},
		"unwell on writing":    {given: fail(iam.Fault{Call: iam.Patch, Times: attempts, Status: 500}), want: "Internal Server Error", tries: attempts, call: iam.Patch},
		"unwell on asking":     {given: fail(iam.Fault{Call: iam.Operation, Times: attempts, Status: 502, Body: "<html>"}), want: "Bad Gateway", tries: attempts, call: iam.Operation},
		"a page of HTML":       {given: fail(iam.Fault{Call: iam.Get, Status: 418, Body: strings.Repeat("<b>", 9999)}), want: "is this Google's API?", tries: 1, call: iam.Get},
		"hung up":              {given: fail(iam.Fault{Call: iam.Patch, Times: 3 * attempts}), want: "no answer of Google", call: iam.Patch},
		"moved":                {given: fail(iam.Fault{Call: iam.Get, Status: 302, Message: "elsewhere"}), want: "HTTP 302", tries: 1, call: iam.Get},
		"many words":           {given: fail(iam.Fault{Call: iam.Patch, Status: 400, Message: strings.Repeat("blah ", 9999)}), want: "blah …", tries: 1, call: iam.Patch},
		"not an answer":        {given: fail(iam.Fault{Call: iam.Get, Times: attempts, Status: 200, Body: "<html>"}), want: "no answer of Google", tries: attempts, call: iam.Get},
		"no operation":         {given: fail(iam.Fault{Call: iam.Patch, Status: 200, Body: `{"name":"operations/../../x"}`}), want: "no operation to ask after", tries: 1, call: iam.Patch},
		"operation gone":       {given: fail(iam.Fault{Call: iam.Operation, Status: 404, Message: "Gone"}), want: "asking after projects/"},
		"operation denied":     {given: fail(iam.Fault{Call: iam.Patch, Ends: 7, Message: "No"}), want: updatePermission},
		"operation over quota": {given: fail(iam.Fault{Call: iam.Patch, Ends: 8, Message: "Full"}), want: "for a quota: Full"},
		"operation aborted":    {given: fail(iam.Fault{Call: iam.Patch, Ends: 10, Message: "Overtaken"}), want: "broken off by another"},
		"operation fails":      {given: fail(iam.Fault{Call: iam.Patch, Ends: 13, Message: "Internal"}), want: "failed (code 13): Internal"},
		"too large":            {given: edit(func(p *googleiam.WorkloadIdentityPoolProvider) { p.Description = strings.Repeat("x", maxAnswer) }), want: "more than", tries: 1, call: iam.Get},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.keep(t, true, set(rsaKey), set(rsaKey))
			test.given(t, r)
			before, made := r.google.Keys(iam.Name("prod-eu1")), r.google.Count(test.call)
			changed, err := r.Keep(t.Context(), set(ecKey))
			if changed || err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), r.Name()) {
				t.Fatalf("%t, %v; want %q", changed, err, test.want)
			}
			if len(err.Error()) > 1200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			if got := r.google.Count(test.call) - made; test.tries > 0 && got != test.tries {
				t.Errorf("%s was called %d times, want %d", test.call, got, test.tries)
			}
			if r.google.Keys(iam.Name("prod-eu1")) != before {
				t.Error("the keys were changed")
			}
		})
	}
}

// A fault that passes is not seen by the caller, whether Google had done what it was asked or not.
func TestPassingFaults(t *testing.T) {
	t.Parallel()
	for _, call := range []string{iam.Get, iam.Patch, iam.Operation} {
		for name, fault := range map[string]iam.Fault{
			"503":          {Status: 503, Message: "Later"},
			"hung up":      {},
			"done, 503":    {Status: 503, Applied: true},
			"done, silent": {Applied: true},
		} {
			t.Run(call+" "+name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				fault.Call, fault.Times = call, attempts-1
				r.google.Fail(fault)
				r.keep(t, true, set(rsaKey), set(rsaKey))
				r.keep(t, false, set(rsaKey), set(rsaKey))
			})
		}
	}
}

// The caller's time ends while Google is not well: both are said.
func TestNoTimeLeft(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.pause = func(int) time.Duration { cancel(); return time.Hour }
	r.google.Fail(iam.Fault{Call: iam.Get, Times: attempts, Status: 503, Message: "Later"})
	if changed, err := r.Keep(ctx, set(rsaKey)); changed || err == nil || !strings.Contains(err.Error(), "503: Later") {
		t.Errorf("%t, %v", changed, err)
	}
	if changed, err := r.Keep(ctx, set(rsaKey)); changed || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "in time") {
		t.Errorf("%t, %v", changed, err)
	}
	if n := len(r.google.Calls()); n != 1 {
		t.Errorf("%d calls, want one", n)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for attempt, most := range map[int]time.Duration{0: time.Second / 4, 1: time.Second / 2, 3: 2 * time.Second, 99: 2 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 100 {
			d := pause(attempt)
			if d > most || d < most/2 {
				t.Errorf("attempt %d: %s, want %s to %s", attempt, d, most/2, most)
			}
			seen[d] = true
		}
		if len(seen) < 50 {
			t.Errorf("attempt %d: %d different pauses of 100", attempt, len(seen))
		}
	}
}

func TestNotLoggedIn(t *testing.T) {
	t.Parallel()
	google := iam.Start(t)
	name := google.CreateProvider(t, "prod-eu1", issuer)
	for want, login := range map[string]option.ClientOption{
		"not logged in":       option.WithTokenSource(oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "another"})),
		"no answer of Google": option.WithTokenSource(noToken{}),
	} {
		p, err := New(t.Context(), Settings{Issuer: issuer, Provider: name}, option.WithEndpoint(google.URL()), login)
		if err != nil {
			t.Fatal(err)
		}
		p.pause = func(int) time.Duration { return time.Millisecond }
		if _, err := p.Keep(t.Context(), set(rsaKey)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

// A login is for the host it was made for.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	google := iam.Start(t)
	name := google.CreateProvider(t, "prod-eu1", issuer)
	elsewhere := httptest.NewServer(http.RedirectHandler(google.URL()+"v1/"+name, http.StatusTemporaryRedirect))
	t.Cleanup(elsewhere.Close)
	p, err := New(t.Context(), Settings{Issuer: issuer, Provider: name}, append(google.Options(), option.WithEndpoint(elsewhere.URL))...)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := p.Keep(t.Context(), set(rsaKey)); changed || err == nil || !strings.Contains(err.Error(), "HTTP 307") {
		t.Errorf("%t, %v", changed, err)
	}
	if calls := google.Calls(); len(calls) > 0 {
		t.Errorf("followed: %q", calls)
	}
}

type noToken struct{}

func (noToken) Token() (*oauth2.Token, error) {
	return nil, errors.New("the metadata server is silent")
}

// What the platform's login does is shown in TestOnThePlatform.
func TestNoLogin(t *testing.T) {
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	_, err := New(t.Context(), Settings{Issuer: issuer, Provider: iam.Name("prod-eu1")})
	if err == nil || !strings.Contains(err.Error(), "run as a service account") {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Settings{Issuer: issuer, Provider: iam.Name("prod-eu1")}
	for name, change := range map[string]func(*Settings){
		"no issuer":      func(s *Settings) { s.Issuer = "" },
		"http":           func(s *Settings) { s.Issuer = "http://oidc.example" },
		"no provider":    func(s *Settings) { s.Provider = "" },
		"the audience":   func(s *Settings) { s.Provider = iam.Audience(s.Provider) },
		"a pool":         func(s *Settings) { s.Provider = "projects/1/locations/global/workloadIdentityPools/clusters" },
		"another folder": func(s *Settings) { s.Provider += "/../../x" },
		"a query":        func(s *Settings) { s.Provider += "?x" },
		"a region":       func(s *Settings) { s.Provider = strings.Replace(s.Provider, "global", "eu", 1) },
		"a short name":   func(s *Settings) { s.Provider = strings.Replace(s.Provider, "prod-eu1", "eu", 1) },
	} {
		settings := good
		change(&settings)
		if _, err := New(t.Context(), settings, option.WithoutAuthentication()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if p, err := New(t.Context(), good, option.WithoutAuthentication()); err != nil || p.Name() != good.Provider {
		t.Error(err)
	}
}
