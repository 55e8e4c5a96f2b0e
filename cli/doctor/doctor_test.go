package doctor_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/doctor"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func TestNothingIsFoundOnAHealthyOne(t *testing.T) {
	t.Parallel()
	report := run(newWorld(t))
	for _, c := range report.Checks {
		if c.Status != doctor.OK && !needsMore(c) {
			t.Errorf("%s: %s: %s", c.ID, c.Status, c.Detail)
		}
	}
	if heard, _ := report.Check("publisher.heard"); !strings.Contains(heard.Detail, "attested at 20") || !strings.Contains(heard.Detail, " by "+rsaKey().ID()) {
		t.Error(heard)
	}
	if !report.Healthy || report.First != "" || len(report.Checks) < 60 {
		t.Errorf("%d checks, first broken %q", len(report.Checks), report.First)
	}
}

const (
	discoveryURL = issuer + stranger.DiscoveryPath
	jwksURL      = issuer + stranger.JWKSPath
)

// setup is broken in one way. want is the first check that must say so, with which status, and a part of what it says.
type setup struct {
	harm   func(*world)
	want   string
	status doctor.Status
	says   string
}

// setups are those of everything but publishers, which are in publishersetups_test.go.
var setups = map[string]setup{
	// The API servers.
	"no kubeconfig and no issuer": {func(w *world) {
		w.options = doctor.Options{ClusterErr: apiserver.ErrNoKubeconfig, Now: time.Now}
	}, "cluster.reachable", doctor.Broken, "no kubeconfig"},
	"credentials are refused":        {func(w *world) { w.servers[0].status["/apis/discovery"] = http.StatusUnauthorized }, "cluster.reachable", doctor.Broken, "credentials"},
	"endpointslices are forbidden":   {func(w *world) { w.servers[0].status["/apis/discovery"] = http.StatusForbidden }, "cluster.reachable", doctor.Broken, "may not list"},
	"no API server is listed":        {func(w *world) { w.servers[0].unlisted, w.servers[1].unlisted = true, true }, "cluster.reachable", doctor.Broken, "lists no API server"},
	"an API server is down":          {func(w *world) { w.servers[1].Close() }, "cluster.each", doctor.Broken, "does not answer"},
	"the issuer is not an https URL": {func(w *world) { w.servers[1].status["/.well-known"] = http.StatusNotFound }, "cluster.discovery", doctor.Broken, "404"},
	"discovery is forbidden":         {func(w *world) { w.servers[0].status["/.well-known"] = http.StatusForbidden }, "cluster.discovery", doctor.Broken, "403"},
	"a clock is two minutes behind":  {func(w *world) { w.servers[1].ahead = -2 * time.Minute }, "cluster.clock", doctor.Warn, "behind"},
	"a clock is an hour ahead":       {func(w *world) { w.servers[1].ahead = time.Hour }, "cluster.clock", doctor.Broken, "ahead"},

	"API servers behind a balancer": {func(w *world) {
		w.each(func(s *fakeServer) { s.advertised = "127.0.0.1:1" })
	}, "cluster.direct", doctor.Warn, "fresh connections to"},

	// The issuer.
	"issuers differ between API servers": {func(w *world) { w.servers[1].issuer += "-2" }, "issuer.same", doctor.Broken, "prod-2"},
	"nobody says which issuer": {func(w *world) {
		w.options = doctor.Options{ClusterErr: errors.New("no route"), Now: time.Now}
	}, "cluster.reachable", doctor.Broken, "no route"},
	"a trailing slash": {func(w *world) { w.each(func(s *fakeServer) { s.issuer += "/" }) }, "issuer.expected", doctor.Broken, "trailing slash"},
	"upper case":       {func(w *world) { w.each(func(s *fakeServer) { s.issuer = strings.ToUpper(s.issuer) }) }, "issuer.expected", doctor.Broken, "upper and lower case"},
	"a slash at the end everywhere": {func(w *world) {
		w.each(func(s *fakeServer) { s.issuer += "/" })
		w.options.Issuer += "/"
	}, "issuer.form", doctor.Broken, "ends with a slash"},
	"a query": {func(w *world) {
		w.each(func(s *fakeServer) { s.issuer += "?a=b" })
		w.options.Issuer += "?a=b"
	}, "issuer.form", doctor.Broken, "query"},
	"the default issuer": {func(w *world) {
		w.each(func(s *fakeServer) { s.issuer = "https://kubernetes.default.svc.cluster.local" })
		w.options.Issuer = ""
		w.options.ExporterSettings = nil
		w.options.Publishers = nil
	}, "issuer.public", doctor.Broken, "default issuer"},
	"an address of one network only": {func(w *world) {
		w.each(func(s *fakeServer) { s.issuer = "https://10.1.2.3/prod" })
		w.options.Issuer = "https://10.1.2.3/prod"
	}, "issuer.public", doctor.Broken, "one network"},

	// Keys.
	"a private key is listed": {func(w *world) {
		w.servers[1].jwks = strings.Replace(w.servers[1].keySet(), `"use":`, `"d":"AQAB","use":`, 1)
	}, "keys.private", doctor.Broken, "private"},
	"a weak key": {func(w *world) {
		w.servers[1].jwks = `{"keys":[{"kty":"RSA","kid":"a","alg":"RS256","use":"sig","e":"AQAB","n":"` + strings.Repeat("w", 171) + `"}]}`
	}, "keys.weak", doctor.Broken, "weak"},
	"something rewrites the JWKS": {func(w *world) {
		w.servers[1].jwks = strings.Replace(w.servers[1].keySet(), `"use":`, `"x5t":"a","use":`, 1)
	}, "keys.strict", doctor.Broken, "malformed"},
	"a key file is named twice": {func(w *world) { w.servers[0].keys = append(w.servers[0].keys, rsaKey()) }, "keys.twice", doctor.Warn, "1 of 2 entries"},
	"API servers list different keys": {func(w *world) {
		w.servers[0].keys = append(w.servers[0].keys, otherKey())
		w.publish(rsaKey(), otherKey())
	}, "keys.same", doctor.Warn, "lacks"},
	"no keys at all": {func(w *world) { w.each(func(s *fakeServer) { s.keys = nil }) }, "keys.count", doctor.Broken, "no API server lists"},
	"a key ID that is not derived": {func(w *world) {
		key := snapshottest.Key{Key: must(jwks.NewWithID(otherKey().Public(), "mine")), Private: otherKey().Private}
		w.each(func(s *fakeServer) { s.keys = append(s.keys, key) })
	}, "keys.ids", doctor.Broken, `"mine"`},
	"elliptic keys for Entra": {func(w *world) {
		key := snapshottest.NewKey()
		w.each(func(s *fakeServer) { s.keys = append(s.keys, key) })
		w.options.For = []string{"entra"}
	}, "keys.algorithm", doctor.Broken, "entra does not document ES256"},

	// Tokens.
	"no service account":   {func(w *world) { w.each(func(s *fakeServer) { s.status["/api/v1/"] = http.StatusNotFound }) }, "tokens.issued", doctor.Broken, "there is no service account"},
	"tokens are forbidden": {func(w *world) { w.servers[1].status["/api/v1/"] = http.StatusForbidden }, "tokens.issued", doctor.Broken, "may not create tokens"},
	"a webhook adds an audience": {func(w *world) {
		w.servers[1].claims = func(c map[string]any) { c["aud"] = []string{"kube-iam-assume:doctor-probe", "also"} }
	}, "tokens.form", doctor.Broken, "also"},
	"tokens with another issuer": {func(w *world) {
		w.servers[1].claims = func(c map[string]any) { c["iss"] = issuer + "-old" }
	}, "tokens.issuer", doctor.Broken, "prod-old"},
	"the signing key is not listed": {func(w *world) { w.servers[1].sign = otherKey() }, "tokens.signing-key", doctor.Broken, "does not list"},
	"API servers refuse each other's tokens": {func(w *world) {
		w.servers[1].sign, w.servers[1].keys = otherKey(), []snapshottest.Key{otherKey()}
		w.publish(rsaKey(), otherKey())
	}, "tokens.mutual", doctor.Broken, "with which another signs"},
	"in the middle of a rotation": {func(w *world) {
		w.each(func(s *fakeServer) { s.keys = append(s.keys, otherKey()) })
		w.servers[1].sign = otherKey()
		w.publish(rsaKey(), otherKey())
	}, "tokens.one-key", doctor.Warn, "they sign with"},
	"a cloud among the API audiences":    {func(w *world) { w.each(func(s *fakeServer) { s.audiences = append(s.audiences, audience) }) }, "tokens.default-audience", doctor.Broken, audience},
	"tokens outlive the retention":       {func(w *world) { w.servers[1].longest = 1 << 62 }, "tokens.lifetime", doctor.Warn, "10 years"},
	"the exporter may not attest":        {func(w *world) { w.servers[0].denied = "create" }, "tokens.attestation", doctor.Broken, "may not create serviceaccounts/token"},
	"the exporter may not list":          {func(w *world) { w.servers[0].denied = "list" }, "tokens.rights", doctor.Broken, "endpointslices"},
	"the exporter may not read the keys": {func(w *world) { w.servers[0].denied = "get" }, "tokens.rights", doctor.Broken, "/openid/v1/jwks"},

	// Exporter.
	"a typing error in the exporter's settings": {func(w *world) { w.exporter("destinations:", "destination:") }, "exporter.settings", doctor.Broken, "destination"},
	"two publishers of one name": {func(w *world) {
		w.exporter("destinations: [", "destinations: [{publisher: p, webhook: {url: https://other.example.com/v1/snapshots}}, ")
	}, "exporter.settings", doctor.Broken, `two publishers are called "p"`},
	"the exporter is for another issuer": {func(w *world) { w.exporter(issuer, issuer+"-old") }, "exporter.issuer", doctor.Broken, "prod-old"},
	"the exporter is not ready":          {func(w *world) { w.ready = http.StatusServiceUnavailable }, "exporter.ready", doctor.Broken, "503: not yet"},
	"the wrong port":                     {func(w *world) { w.metrics = "go_goroutines 1\n" }, "exporter.metrics", doctor.Broken, "no metric of the exporter"},
	"the exporter sees a problem": {func(w *world) {
		w.metrics += `kube_iam_assume_exporter_problem{about="p \"x\"",reason="SnapshotRefused"} 1` + "\n"
	}, "exporter.problems", doctor.Broken, `SnapshotRefused p "x"`},
	"the exporter does not read all": {func(w *world) { w.metrics = strings.Replace(w.metrics, "read 2", "read 1", 1) }, "exporter.reads", doctor.Broken, "1 of 2"},
	"the exporter hangs": {func(w *world) {
		w.metrics = strings.Replace(w.metrics, "reading_timestamp_seconds NOW", "reading_timestamp_seconds 1.7e+09", 1)
	}, "exporter.reads", doctor.Broken, "began"},
	"no publisher accepted": {func(w *world) { w.metrics = strings.Replace(w.metrics, `"p"} NOW`, `"p"} 1.7e+09`, 1) }, "exporter.accepted", doctor.Broken, "p: "},
	"one never did":         {func(w *world) { w.metrics = strings.Replace(w.metrics, `"p"} NOW`, `"q"} NOW`, 1) }, "exporter.accepted", doctor.Broken, "p: none since"},

	// The web.
	"the host has no address": {func(w *world) {
		w.options.Resolve = func(_ context.Context, host string) ([]string, error) {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
	}, "web.dns", doctor.Broken, "no such host"},
	"a private address": {func(w *world) {
		w.options.Resolve = func(context.Context, string) ([]string, error) { return []string{"10.0.0.7"}, nil }
	}, "web.public-address", doctor.Broken, "10.0.0.7"},
	"nobody listens":                 {func(w *world) { w.listener.Close() }, "web.connect", doctor.Broken, "refused"},
	"an unknown authority":           {func(w *world) { w.options.Stranger = must(stranger.New("", w.dial)) }, "web.tls", doctor.Broken, "unknown authority"},
	"a certificate for another name": {func(w *world) { w.certify(time.Now().Add(90*24*time.Hour), "elsewhere.example.com") }, "web.tls", doctor.Broken, "not oidc.example.com"},
	"an expired certificate":         {func(w *world) { w.certify(time.Now().Add(-time.Hour), names...) }, "web.tls", doctor.Broken, "expired"},
	"a certificate about to end":     {func(w *world) { w.certify(time.Now().Add(5*24*time.Hour), names...) }, "web.certificate", doctor.Warn, "ends in"},
	"the world's clock is another": {func(w *world) {
		w.change(discoveryURL, func(a *answer) { a.header["Date"] = time.Now().Add(-3 * time.Minute).UTC().Format(http.TimeFormat) })
	}, "web.clock", doctor.Broken, "ahead"},

	// The discovery document.
	"block public access":         {func(w *world) { w.change(discoveryURL, func(a *answer) { a.status = http.StatusForbidden }) }, "discovery.status", doctor.Broken, "403"},
	"Azure forbids public access": {func(w *world) { w.change(discoveryURL, func(a *answer) { a.status = http.StatusConflict }) }, "discovery.status", doctor.Broken, "409"},
	"nothing is published":        {func(w *world) { delete(w.web, discoveryURL) }, "discovery.status", doctor.Broken, "404"},
	"a redirect": {func(w *world) {
		w.change(discoveryURL, func(a *answer) { a.status, a.header["Location"] = http.StatusMovedPermanently, mirror })
	}, "discovery.status", doctor.Broken, "301, to " + mirror},
	"an overloaded host":             {func(w *world) { w.change(discoveryURL, func(a *answer) { a.status = http.StatusServiceUnavailable }) }, "discovery.status", doctor.Broken, "503"},
	"the wrong media type":           {func(w *world) { w.change(discoveryURL, func(a *answer) { a.header["Content-Type"] = "text/html" }) }, "discovery.type", doctor.Warn, "text/html"},
	"a login page":                   {func(w *world) { w.change(discoveryURL, func(a *answer) { a.body = "<html>log in" }) }, "discovery.json", doctor.Broken, "<html>log in"},
	"a repeated member":              {func(w *world) { w.replace(discoveryURL, `"issuer"`, `"issuer":"https://evil.example.com","issuer"`) }, "discovery.json", doctor.Broken, "no: "},
	"another issuer in the document": {func(w *world) { w.replace(discoveryURL, `"issuer":"`+issuer+`"`, `"issuer":"`+issuer+`/"`) }, "discovery.issuer", doctor.Broken, "trailing slash"},
	"the API server's document was copied": {func(w *world) {
		w.replace(discoveryURL, `"jwks_uri":"`+jwksURL, `"jwks_uri":"http://10.0.0.1:6443/openid/v1/jwks`)
	}, "discovery.jwks-uri", doctor.Broken, "not an https URL"},
	"keys on another host": {func(w *world) {
		w.replace(discoveryURL, `"jwks_uri":"`+jwksURL, `"jwks_uri":"`+mirror+stranger.JWKSPath)
	}, "discovery.jwks-uri", doctor.Broken, "another host"},
	"a member is missing":     {func(w *world) { w.replace(discoveryURL, `"subject_types_supported":["public"],`, ``) }, "discovery.members", doctor.Broken, "no subject_types_supported"},
	"an algorithm is missing": {func(w *world) { w.replace(discoveryURL, `"RS256"`, `"ES384"`) }, "discovery.algorithms", doctor.Broken, "RS256"},

	// The published keys.
	"the keys are forbidden": {func(w *world) { w.change(jwksURL, func(a *answer) { a.status = http.StatusForbidden }) }, "jwks.status", doctor.Broken, "403"},
	"keys of a strange type": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.header["Content-Type"] = "application/octet-stream" })
	}, "jwks.type", doctor.Warn, "octet-stream"},
	"an age that overflows": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.header["Cache-Control"] = "max-age=18446744074" })
	}, "jwks.cache", doctor.Broken, "max-age is"},
	"no Cache-Control": {func(w *world) { w.change(jwksURL, func(a *answer) { delete(a.header, "Cache-Control") }) }, "jwks.cache", doctor.Warn, "no max-age"},
	"a day in caches": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.header["Cache-Control"] = "public, max-age=86400" })
	}, "jwks.cache", doctor.Broken, "24h"},
	"too long":                   {func(w *world) { w.change(jwksURL, func(a *answer) { a.body += strings.Repeat(" ", jwks.MaxBytes) }) }, "jwks.size", doctor.Broken, "bytes"},
	"a private key is published": {func(w *world) { w.replace(jwksURL, `"use":`, `"d":"AQAB","use":`) }, "jwks.private", doctor.Broken, "private"},
	"a weak key is published": {func(w *world) {
		w.change(jwksURL, func(a *answer) {
			a.body = `{"keys":[{"kty":"RSA","kid":"a","alg":"RS256","use":"sig","e":"Aw","n":"` + strings.Repeat("w", 342) + `"}]}`
		})
	}, "jwks.weak", doctor.Broken, "weak"},
	"two keys of one ID": {func(w *world) {
		w.change(jwksURL, func(a *answer) {
			a.body = string(jwks.Set{rsaKey().Key, must(jwks.NewWithID(otherKey().Public(), rsaKey().ID()))}.Encode())
		})
	}, "jwks.read", doctor.Broken, "ambiguous"},
	"no key is published": {func(w *world) { w.change(jwksURL, func(a *answer) { a.body = `{"keys":[]}` }) }, "jwks.read", doctor.Broken, "no key is published"},
	"a key is published twice": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.body = string(jwks.Set{rsaKey().Key, rsaKey().Key}.Encode()) })
	}, "jwks.twice", doctor.Warn, "1 of 2"},
	"an elliptic key is published": {func(w *world) {
		w.options = doctor.Options{ClusterErr: apiserver.ErrNoKubeconfig, Issuer: issuer, Stranger: w.options.Stranger, Resolve: w.options.Resolve, Now: time.Now, For: []string{"entra"}}
		w.change(jwksURL, func(a *answer) { a.body = string(jwks.Set{snapshottest.NewKey().Key}.Encode()) })
	}, "jwks.algorithm", doctor.Broken, "entra does not document ES256"},
	"eleven keys": {func(w *world) {
		set := jwks.Set{rsaKey().Key}
		for range 10 {
			set = append(set, snapshottest.NewKey().Key)
		}
		w.change(jwksURL, func(a *answer) { a.body = string(set.Encode()) })
	}, "jwks.count", doctor.Warn, "11 keys"},
	"two web servers behind one name": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.then = string(jwks.Set{otherKey().Key}.Encode()) })
	}, "jwks.stable", doctor.Warn, "were others"},
	"the signing key is not published": {func(w *world) {
		w.each(func(s *fakeServer) { s.sign, s.keys = otherKey(), []snapshottest.Key{otherKey()} })
		w.options.Publishers = nil
	}, "jwks.signing", doctor.Broken, "every token signed with it is refused"},
	"a listed key is not published": {func(w *world) { w.each(func(s *fakeServer) { s.keys = append(s.keys, otherKey()) }) }, "jwks.complete", doctor.Broken, otherKey().ID()},
	"a key that nobody knows": {func(w *world) {
		w.change(jwksURL, func(a *answer) { a.body = string(jwks.Set{rsaKey().Key, otherKey().Key}.Encode()) })
	}, "jwks.others", doctor.Broken, otherKey().ID()},
	"somebody else writes the documents": {func(w *world) { w.change(jwksURL, func(a *answer) { a.body = strings.TrimSpace(a.body) }) }, "jwks.publication", doctor.Warn, "no publication number"},

	// Mirrors.
	"a mirror is down":                  {func(w *world) { delete(w.web, mirror+stranger.JWKSPath) }, "mirrors.reachable", doctor.Broken, "404"},
	"a mirror has an issuer of its own": {func(w *world) { w.replace(mirror+stranger.DiscoveryPath, issuer, mirror) }, "mirrors.discovery", doctor.Broken, "is another"},
	"a mirror lacks a key": {func(w *world) {
		w.change(mirror+stranger.JWKSPath, func(a *answer) { a.body = string(jwks.Set{otherKey().Key}.Encode()) })
	}, "mirrors.keys", doctor.Broken, "only at the issuer: " + rsaKey().ID()},

	// The exchange.
	"a workload that is not there": {func(w *world) {
		w.options.Workload = "shop/payments"
		w.servers[1].status["/api/v1/namespaces/shop"] = http.StatusNotFound
	}, "exchange.token", doctor.Broken, "127.0.0.1"},
	"the wrong audience comes back": {func(w *world) {
		w.servers[1].claims = func(c map[string]any) {
			if a, _ := c["aud"].([]string); a[0] == audience {
				c["aud"] = []string{"vault"}
			}
		}
	}, "exchange.verified", doctor.Broken, "audience"},
	"a subject that is too long": {func(w *world) {
		w.options.Workload, w.options.For = "payments/"+strings.Repeat("long-", 24), []string{"google"}
	}, "exchange.subject", doctor.Broken, "bytes"},
}

func TestEveryBrokenSetUpIsNamed(t *testing.T) {
	t.Parallel()
	for name, setup := range allSetups() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			setup.harm(w)
			report := run(w)
			got, found := report.Check(setup.want)
			if !found || got.Status != setup.status || !strings.Contains(got.Detail, setup.says) || got.Remedy == "" {
				t.Errorf("%s: %+v; want %s that says %q, with a remedy", setup.want, got, setup.status, setup.says)
			}
			for _, c := range report.Checks { // nothing before it may be broken
				if c.ID == setup.want {
					break
				}
				if c.Status == doctor.Broken {
					t.Errorf("%s is %s before it: %s", c.ID, c.Status, c.Detail)
				}
			}
			if setup.status == doctor.Broken && (report.First != setup.want || report.Healthy) {
				t.Errorf("the first broken link is %q, want %s", report.First, setup.want)
			}
		})
	}
}

// What people read: the chain in order, remedies where they are needed, and at the end what to repair first.
func TestTheReportForPeople(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.options = doctor.Options{ // without a cluster, so that nothing in it differs from run to run
		ClusterErr: apiserver.ErrNoKubeconfig, Issuer: issuer, Stranger: w.options.Stranger, Resolve: w.options.Resolve, Now: time.Now,
	}
	w.change(jwksURL, func(a *answer) {
		a.header["Cache-Control"] = "max-age=600"
		a.body = "<html>\x1b[2Jno keys"
	})
	report := run(w)
	for name, print := range map[string]func(io.Writer) error{
		"people.txt":   func(out io.Writer) error { return report.Print(out, false, false) },
		"coloured.txt": func(out io.Writer) error { return report.Print(out, true, true) },
	} {
		var out bytes.Buffer
		if err := print(&out); err != nil {
			t.Fatal(err)
		}
		text := regexp.MustCompile(`until \d{4}-\d\d-\d\d`).ReplaceAllString(out.String(), "until DATE")
		file := filepath.Join("testdata", name)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(string(must(os.ReadFile(file))), text); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A host that hangs is neither found by the refusals above nor may it hang doctor.
func TestASlowHost(t *testing.T) {
	t.Parallel()
	for url, want := range slowURLs {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			hold := make(chan struct{})
			asked := sync.OnceFunc(func() { time.AfterFunc(2200*time.Millisecond, func() { close(hold) }) })
			w.change(url, func(a *answer) { a.delay, a.asked = hold, asked })
			if got, _ := run(w).Check(want); got.Status != doctor.Warn || !strings.Contains(got.Detail, "AWS gives up") {
				t.Error(got)
			}
		})
	}
}

var slowURLs = map[string]string{discoveryURL: "discovery.prompt", jwksURL: "jwks.prompt"}

// A check that nothing provokes could be one that never fails.
func TestEveryCheckIsProvoked(t *testing.T) {
	t.Parallel()
	provoked := map[string]bool{"issuer.known": true} // by what has no issuer; cluster.reachable is the first to say so
	for _, setup := range allSetups() {
		provoked[setup.want] = true
	}
	for _, id := range slowURLs {
		provoked[id] = true
	}
	blind := newWorld(t)
	blind.options = doctor.Options{ClusterErr: apiserver.ErrNoKubeconfig, Now: time.Now}
	report := run(blind)
	if known, _ := report.Check("issuer.known"); known.Status != doctor.Broken {
		t.Error(known)
	}
	for _, c := range report.Checks {
		if !provoked[c.ID] && !ofClouds(c) {
			t.Errorf("no set-up provokes %s", c.ID)
		}
	}
}

// ofClouds are the checks of what clouds say. The tests of cli/setup provoke them, TestWhatCloudsSay what becomes of them.
func ofClouds(c doctor.Result) bool {
	return slices.Contains([]string{"AWS", "Google Cloud", "Microsoft Entra", "Vault"}, c.Link)
}

// needsMore are the checks that a healthy world with one publisher and without a cloud skips.
func needsMore(c doctor.Result) bool {
	return c.Status == doctor.Skipped && (ofClouds(c) || c.Link == "publishers")
}

func run(w *world) doctor.Report { return doctor.Run(w.Context(), w.options) }

func (w *world) each(change func(*fakeServer)) {
	for _, s := range w.servers {
		change(s)
	}
}

func (w *world) exporter(old, with string) {
	w.options.ExporterSettings.Data = []byte(strings.ReplaceAll(exporterSettings, old, with))
}

func (w *world) certify(until time.Time, names ...string) {
	w.listener.TLS.Certificates = []tls.Certificate{w.authority.issue(until, names...)}
}

func (w *world) remove(pattern string) {
	w.Helper()
	files := must(filepath.Glob(filepath.Join(w.data, "private", pattern)))
	if len(files) == 0 {
		w.Fatalf("nothing is called %s", pattern)
	}
	for _, file := range files {
		if err := os.RemoveAll(file); err != nil {
			w.Fatal(err)
		}
	}
}
