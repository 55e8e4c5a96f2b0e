package revoke

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// late is how far a time that the command says may be from what the test sees: its own interval, and a slow machine.
const late = 3 * time.Second

// report is what the test looks at of the command's.
type report struct {
	Sent    time.Time          `json:"sent"`
	Results []publishers.Reply `json:"results"`
	Effect  []struct {
		URL     string  `json:"url"`
		Gone    bool    `json:"gone"`
		Seconds float64 `json:"seconds"`
	} `json:"effect"`
}

// TestFourDoors is the whole story: a key leaks while one cloud is down.
func TestFourDoors(t *testing.T) {
	stolen, next := snapshottest.NewRSAKey(), snapshottest.NewRSAKey()
	w := newWorld(t, stolen, next)
	w.startAWS()
	w.startGoogle()
	w.startAzure()
	w.startSite()
	file, err := publishers.Encode(w.sites)
	if err != nil {
		t.Fatal(err)
	}
	w.Write("publishers.yaml", file)
	sites := []string{"aws", "gcp", "azure", "site"}
	publishing := func() (where []string) {
		for _, site := range sites {
			if slices.Contains(w.published(site), stolen.Key.ID()) {
				where = append(where, site)
			}
		}
		return where
	}
	revoke := []string{"revoke", "--issuer", w.Issuer(), "--cluster", clusterID, "--key-id", stolen.Key.ID(), "--reason", "node 3 leaked", "--ca-bundle", w.Network.Bundle}
	with := func(more ...string) []string { return append(slices.Clone(revoke), more...) }

	exit, out, _ := w.run(nil, with("--dry-run")...)
	if exit != 0 || strings.Count(out, "key.revoked") != 4 || len(publishing()) != 4 {
		t.Fatalf("the plan ends with %d:\n%s", exit, out)
	}
	w.wrongLogins(with("--dry-run"))

	w.dead()
	exit, out, complaint := w.run(nil, with("--yes")...)
	if exit != 1 || len(publishing()) != 4 {
		t.Fatalf("with a dead cloud it ends with %d, published at %q:\n%s", exit, publishing(), out)
	}
	w.contains(complaint, "acme/gcp: nothing was sent to any", "--reachable")
	w.contains(out, "CAN'T BE ASKED: publisher acme/gcp: not reached")

	last := w.lastSeen("aws", stolen.Key.ID())
	exit, out, complaint = w.run(nil, with("--yes", "--reachable", "-o", "json")...)
	if exit != 1 || !slices.Equal(publishing(), []string{"gcp"}) {
		t.Errorf("with --reachable it ends with %d, published at %q:\n%s\n%s", exit, publishing(), out, complaint)
	}
	w.contains(complaint, "not done everywhere: acme/gcp", "not seen to be gone at every URL: "+w.Documents("gcp"))
	w.results(out, map[string]string{"acme/aws": "accepted", "acme/gcp": "", "acme/azure": "accepted", "acme/site": "accepted"}, "gcp")
	w.truth(out, <-last)

	w.back()
	exit, out, complaint = w.run(nil, with("--yes", "-o", "json")...)
	if exit != 0 || len(publishing()) > 0 {
		t.Errorf("once it is back it ends with %d, published at %q:\n%s\n%s", exit, publishing(), out, complaint)
	}
	w.results(out, map[string]string{"acme/aws": "unchanged", "acme/gcp": "accepted", "acme/azure": "unchanged", "acme/site": "unchanged"}, "")

	began := time.Now()
	exit, out, _ = w.run(nil, with("-o", "json")...) // nothing to ask
	if exit != 0 {
		t.Errorf("again: %d\n%s", exit, out)
	}
	t.Logf("again, with nothing to do: %s", time.Since(began).Round(time.Millisecond))
	w.results(out, map[string]string{"acme/aws": "unchanged", "acme/gcp": "unchanged", "acme/azure": "unchanged", "acme/site": "unchanged"}, "")
	w.refused(next.Key.ID())
	w.otherStatements()
}

// lastSeen watches a site and tells when the key was seen there last.
func (w *world) lastSeen(site, keyID string) <-chan time.Time {
	last := make(chan time.Time, 1)
	go func() {
		var seen time.Time
		for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			asked := time.Now()
			if keys, err := w.read(site); err != nil || !slices.Contains(keys, keyID) {
				break
			}
			seen = asked
		}
		last <- seen
	}()
	return last
}

// truth holds the time to effect that the command says of the first site against what the test saw itself.
func (w *world) truth(out string, last time.Time) {
	w.Helper()
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		w.Fatal(err)
	}
	said := r.Sent.Add(time.Duration(r.Effect[0].Seconds * float64(time.Second)))
	if apart := said.Sub(last); apart < -late || apart > late {
		w.Errorf("the command says that the key was gone at %s, the test saw it at %s", said, last)
	} else {
		w.Logf("time to effect: %.2f s; said %s after it was seen last", r.Effect[0].Seconds, apart.Round(time.Millisecond))
	}
}

// otherStatements go through the same four doors.
func (w *world) otherStatements() {
	w.Helper()
	another := snapshottest.NewRSAKey()
	file := w.Write("another.json", jwks.Set{another.Key}.Encode())
	about := []string{"--issuer", w.Issuer(), "--cluster", clusterID, "--reason", "test", "--publishers", "publishers.yaml", "--yes"}
	for _, words := range [][]string{{"rotation", "announce", "--key-file", file}, {"operate", "remove"}} {
		if exit, out, complaint := w.run(nil, append(words, about...)...); exit != 0 || strings.Count(out, "Done (accepted)") != 4 {
			w.Errorf("%q: %d\n%s\n%s", words, exit, out, complaint)
		}
	}
	for _, site := range []string{"aws", "gcp", "azure", "site"} {
		if !slices.Contains(w.published(site), another.ID()) {
			w.Errorf("%s does not publish the key that was announced", site)
		}
	}
}

// results holds a report against the status of each publisher, and the site that still has the key.
func (w *world) results(out string, want map[string]string, still string) {
	w.Helper()
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Results) != 4 || len(r.Effect) != 4 {
		w.Fatalf("%v:\n%s", err, out)
	}
	for _, result := range r.Results {
		status := ""
		if result.Outcome != nil {
			status = result.Outcome.Status
		}
		if status != want[result.Publisher] || (status == "") != (result.Problem != "") {
			w.Errorf("%s: %q (%s), want %q", result.Publisher, status, result.Problem, want[result.Publisher])
		}
	}
	for _, e := range r.Effect {
		w.Logf("%s: gone: %t, %.1f s", strings.TrimPrefix(e.URL, w.Front.URL), e.Gone, e.Seconds)
		if wrong := still != "" && strings.HasPrefix(e.URL, w.Documents(still)); e.Gone == wrong {
			w.Errorf("%s: gone is %t", e.URL, e.Gone)
		}
	}
}

// wrongLogins tries doors as somebody who may not, or as nobody. Each says what is missing.
func (w *world) wrongLogins(words []string) {
	w.Helper()
	alice := w.sites[1]
	for name, test := range map[string]struct {
		publisher int
		change    map[string]string
		settings  publishers.CloudRun // in place of Google's
		want      []string
	}{
		"AWS, without the right":      {0, map[string]string{"AWS_ACCESS_KEY_ID": "AKIASTRANGER"}, publishers.CloudRun{}, []string{"not allowed", "needs lambda:InvokeFunction on " + functionARN}},
		"AWS, with a wrong key":       {0, map[string]string{"AWS_SECRET_ACCESS_KEY": "wrong"}, publishers.CloudRun{}, []string{"no login to AWS", "InvalidSignatureException"}},
		"Google, without the right":   {1, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "stranger.json"}, publishers.CloudRun{}, []string{"not allowed", "roles/run.invoker"}},
		"Google, for something else":  {1, nil, publishers.CloudRun{Audience: "https://elsewhere.example.com"}, []string{"not allowed", "401", "for the audience https://elsewhere.example.com"}},
		"Google, a person":            {1, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "alice.json"}, publishers.CloudRun{}, []string{"no login", "impersonate:", "[gcloud, auth, print-identity-token]"}},
		"Google, a person as another": {1, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "alice.json"}, publishers.CloudRun{Impersonate: "other@acme-prod.iam.gserviceaccount.com"}, []string{"no login", "roles/iam.serviceAccountOpenIdTokenCreator"}},
		"Google, a broken command":    {1, nil, publishers.CloudRun{TokenCommand: []string{"cat", "nowhere"}}, []string{"no login: cat: exit status 1", "No such file"}},
		"Google, impersonated":        {1, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "alice.json"}, publishers.CloudRun{Impersonate: account}, nil},
		"Google, gcloud's token":      {1, map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": "alice.json"}, publishers.CloudRun{TokenCommand: []string{"cat", "alice.token"}}, nil},
		"Azure, without the right":    {2, map[string]string{"AZURE_CLIENT_ID": "00000000-0000-0000-0000-0000000000cc"}, publishers.CloudRun{}, []string{"not allowed", "not-operator", "in OPERATORS"}},
		"Azure, unknown":              {2, map[string]string{"AZURE_CLIENT_ID": "00000000-0000-0000-0000-0000000000ee"}, publishers.CloudRun{}, []string{"no login to Entra", "AADSTS700016"}},
	} {
		site := w.sites[test.publisher]
		if test.settings.Audience != "" || test.settings.Impersonate != "" || test.settings.TokenCommand != nil {
			test.settings.URL = alice.CloudRun.URL
			site = publishers.Publisher{Name: alice.Name, CloudRun: &test.settings}
		}
		file, err := publishers.Encode([]publishers.Publisher{site})
		if err != nil {
			w.Fatal(err)
		}
		exit, out, _ := w.run(test.change, append(slices.Clone(words), "--publishers", w.Write("one.yaml", file))...)
		if (exit == 0) != (test.want == nil) {
			w.Errorf("%s: exit code %d:\n%s", name, exit, out)
		}
		w.contains(out, test.want...)
		for variable, secret := range w.login {
			if strings.Contains(variable, "SECRET") && strings.Contains(out, secret) {
				w.Errorf("%s: the output has %s", name, variable)
			}
		}
		if strings.Contains(out, "eyJ") {
			w.Errorf("%s: the output has a token:\n%s", name, out)
		}
	}
}

// refused: what a publisher judges and refuses is told apart from a door that is shut, at every one.
func (w *world) refused(keyID string) {
	w.Helper()
	exit, out, _ := w.run(nil, "revoke", "--issuer", w.Issuer(), "--cluster", "elsewhere", "--key-id", keyID, "--reason", "test", "--wait", "0s")
	if exit != 1 || strings.Count(out, ": refused: ") != 4 {
		w.Errorf("an unknown cluster: %d\n%s", exit, out)
	}
}
