package revoke

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/publishers"
	"github.com/kube-iam-assume/kube-iam-assume/cli/stranger"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// The docs and the command say the same: every command line that is printed is on the pages, word for word, and so is the policy.
func TestOneSource(t *testing.T) {
	t.Parallel()
	var pages bytes.Buffer
	for _, name := range []string{"incident.md", "operations.md"} {
		page, err := os.ReadFile("../../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		pages.Write(page)
	}
	prose := strings.Join(strings.Fields(pages.String()), " ")
	for _, c := range consumers {
		for _, line := range append(slices.Clone(c.Commands), c.End...) {
			if !strings.Contains(prose, line) {
				t.Errorf("%s: docs/incident.md and docs/operations.md lack %q", c.Name, line)
			}
		}
	}
	if !strings.Contains(prose, strings.Join(strings.Fields(denyOlder), " ")) {
		t.Errorf("docs/incident.md has another policy than\n%s", denyOlder)
	}
}

// What is printed is about this issuer, this cluster and this moment, and nothing of the docs' examples is left in it.
func TestConsumersOfThisRevocation(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	for _, c := range consumersOf("https://a.example.com/b", "c", time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)) {
		c.print(&out)
	}
	for _, want := range []string{"--issuer c=https://a.example.com/b --flush", "auth/kubernetes-c/login", `"aws:TokenIssueTime": "2027-01-02T03:04:05Z"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in:\n%s", want, &out)
		}
	}
	for _, left := range []string{issuerInDocs, clusterInDocs, timeInDocs} {
		if strings.Contains(out.String(), left) {
			t.Errorf("%q of the docs is in:\n%s", left, &out)
		}
	}
}

// document is a public URL whose keys a test changes.
type document struct {
	*httptest.Server
	mu    sync.Mutex
	serve []http.HandlerFunc // one after the other; the last one stays
	asked int
}

func serveInTurn(t *testing.T, serve ...http.HandlerFunc) *document {
	t.Helper()
	d := &document{serve: serve}
	d.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		now := d.serve[min(d.asked, len(d.serve)-1)]
		d.asked++
		d.mu.Unlock()
		now(w, r)
	}))
	t.Cleanup(d.Close)
	return d
}

func with(keys ...snapshottest.Key) http.HandlerFunc {
	set := jwks.Set{}
	for _, key := range keys {
		set = append(set, key.Key)
	}
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=1")
		_, _ = w.Write(set.Encode())
	}
}

func broken(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }

// A key is gone when it stays away: one cache that has lost it is not all.
func TestEffect(t *testing.T) {
	t.Parallel()
	old, next := snapshottest.NewKey(), snapshottest.NewKey()
	there, gone := with(old, next), with(next)
	for name, test := range map[string]struct {
		serve    []http.HandlerFunc
		limit    time.Duration
		hopeless bool
		gone     bool
		asked    int // at least
	}{
		"at once":                   {serve: []http.HandlerFunc{gone}, limit: time.Minute, gone: true, asked: sureAfter},
		"no key is left":            {serve: []http.HandlerFunc{with()}, limit: time.Minute, gone: true, asked: sureAfter},
		"after a while":             {serve: []http.HandlerFunc{there, there, gone}, limit: time.Minute, gone: true, asked: sureAfter + 2},
		"one cache has it":          {serve: []http.HandlerFunc{gone, gone, there, gone}, limit: time.Minute, gone: true, asked: sureAfter + 3},
		"an answer fails":           {serve: []http.HandlerFunc{gone, broken, gone}, limit: time.Minute, gone: true, asked: sureAfter + 2},
		"never":                     {serve: []http.HandlerFunc{there}, limit: time.Second, asked: 2},
		"not to be read":            {serve: []http.HandlerFunc{broken}, limit: time.Second, asked: 2},
		"nobody has done it there":  {serve: []http.HandlerFunc{there}, limit: time.Hour, hopeless: true, asked: 1},
		"it was never there, there": {serve: []http.HandlerFunc{gone}, limit: time.Hour, hopeless: true, gone: true, asked: sureAfter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := serveInTurn(t, test.serve...)
			file := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}), 0o600); err != nil {
				t.Fatal(err)
			}
			client, err := stranger.New(file, nil)
			if err != nil {
				t.Fatal(err)
			}
			w := &watch{stranger: client, keyIDs: []string{old.ID()}, began: time.Now(), limit: test.limit, progress: io.Discard}
			seen := w.start(t.Context(), []string{d.URL})
			var hopeless []string
			if test.hopeless {
				hopeless = []string{d.URL}
			}
			w.settle(hopeless)
			e := (<-seen)[0]
			if e.Gone != test.gone || d.asked < test.asked || test.gone && (e.Problem != "" || len(e.Still) > 0) {
				t.Errorf("asked %d times: %+v", d.asked, e)
			}
			if !test.gone && e.Problem == "" && !slices.Equal(e.Still, []string{old.ID()}) {
				t.Errorf("what is still there: %+v", e)
			}
		})
	}
}

// The time that is waited is the documents' own, and somewhat more, but not for ever.
func TestPatience(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]time.Duration{0: margin, time.Minute: time.Minute + margin, 24 * time.Hour: longestWait} {
		if got := (&watch{limit: -1}).patience(age); got != want {
			t.Errorf("max-age %s: %s, want %s", age, got, want)
		}
	}
	if got := (&watch{limit: time.Second}).patience(time.Hour); got != time.Second {
		t.Error(got)
	}
}

func projected(audience string, seconds int64) core.Volume {
	token := &core.ServiceAccountTokenProjection{Audience: audience}
	if seconds > 0 {
		token.ExpirationSeconds = &seconds
	}
	return core.Volume{VolumeSource: core.VolumeSource{Projected: &core.ProjectedVolumeSource{Sources: []core.VolumeProjection{{ServiceAccountToken: token}}}}}
}

func pod(name string, started time.Time, phase core.PodPhase, volumes ...core.Volume) *core.Pod {
	at := metav1.NewTime(started)
	return &core.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "production", Name: name},
		Spec:       core.PodSpec{ServiceAccountName: "payments", Volumes: volumes}, Status: core.PodStatus{StartTime: &at, Phase: phase},
	}
}

// Which pods may hold a token of the key, and for how long at most.
func TestPods(t *testing.T) {
	t.Parallel()
	stopped := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	before := stopped.Add(-48 * time.Hour)
	h := &Holders{StoppedSigning: stopped}
	h.pods(t.Context(), fake.NewClientset(
		pod("short", before, core.PodRunning, projected("sts.amazonaws.com", 3600), projected("", 3607)),
		pod("long", before, core.PodRunning, projected("vault", 7*24*3600)),
		pod("unsaid", before, core.PodRunning, projected("sts.amazonaws.com", 0)),
		pod("later", stopped.Add(time.Second), core.PodRunning, projected("sts.amazonaws.com", 3600), projected("", 3607)),
		pod("ended", before, core.PodSucceeded, projected("sts.amazonaws.com", 3600)),
		pod("default", before, core.PodRunning, projected("", 3607)),
		pod("none", before, core.PodRunning),
	))
	if len(h.Pods) != 3 || h.DefaultTokens != 2 || h.PodsProblem != "" {
		t.Fatalf("%+v", h)
	}
	for i, want := range []struct {
		pod               string
		replaced, expires time.Duration
	}{
		{"production/long", 24 * time.Hour, 7 * 24 * time.Hour}, // a day old, which is before 80 % of a week
		{"production/short", 48 * time.Minute, time.Hour},
		{"production/unsaid", 48 * time.Minute, time.Hour},
	} {
		p := h.Pods[i]
		if p.Pod != want.pod || !p.Replaced.Equal(stopped.Add(want.replaced)) || !p.Expires.Equal(stopped.Add(want.expires)) {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
	var out bytes.Buffer
	if err := h.print(&out, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"production/payments  2     sts.amazonaws.com  1h0m0s", "2 pods have the default token", "no secrets with tokens", "Not known: tokens that somebody asked for himself"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %q in:\n%s", want, &out)
		}
	}
}

// Whatever is not known about a signing key is a doubt, and one of the keys that signs is an alarm.
func TestSigning(t *testing.T) {
	t.Parallel()
	h := &Holders{}
	h.servers([]apiserver.Token{{Address: "a", KeyID: "old"}, {Address: "b", KeyID: "new"}, {Address: "c", Err: io.ErrUnexpectedEOF}, {Address: "a", KeyID: "old"}})
	if got := h.signing([]string{"old", "other"}); !slices.Equal(got, []string{"a"}) {
		t.Errorf("signing: %q", got)
	}
	if got := h.doubts(); len(got) != 1 || !strings.HasPrefix(got[0], "c: ") || len(h.Servers) != 3 {
		t.Errorf("doubts: %q, %+v", got, h.Servers)
	}
	for _, h := range []*Holders{nil, {Problem: "p"}} {
		if len(h.doubts()) != 1 || len(h.signing([]string{"old"})) != 0 {
			t.Errorf("%+v: %q", h, h.doubts())
		}
	}
	if other := otherIssuer([]apiserver.Reading{{Issuer: "x"}, {Issuer: "y"}}, "y"); other != "" {
		t.Errorf("one of them has the issuer: %s", other)
	}
	if other := otherIssuer([]apiserver.Reading{{Issuer: "x"}}, "y"); other != "x" {
		t.Error(other)
	}
}

// The places of publishers that failed, or were not asked, are not waited for; a place that nobody owns is.
func TestHopeless(t *testing.T) {
	t.Parallel()
	const issuer = "https://i"
	r := &revocation{
		places: []string{issuer, "https://m", "https://n", "https://flag"}, options: &options{},
		known: []publishers.Publisher{{Name: "a"}, {Name: "b", ServedAt: map[string]string{issuer: "https://m"}}, {Name: "c", ServedAt: map[string]string{issuer: "https://n"}}},
	}
	r.Statement.Issuer = issuer
	r.Results = []publishers.Reply{{Publisher: "a", Outcome: &publishers.Outcome{}}, {Publisher: "b"}}
	if got := r.hopeless(); !slices.Equal(got, []string{"https://m", "https://n"}) {
		t.Errorf("%q", got)
	}
}

// What was swept away with a key's word is revoked, too, wherever it was found.
func TestRevokedIDs(t *testing.T) {
	t.Parallel()
	reply := func(ids ...string) publishers.Reply {
		o := &publishers.Outcome{Changes: []rotation.Change{{Event: rotation.KeyRetiring, KeyID: "x"}}}
		for _, id := range ids {
			o.Changes = append(o.Changes, rotation.Change{Event: rotation.KeyRevoked, KeyID: id})
		}
		return publishers.Reply{Outcome: o}
	}
	got := revokedIDs([]string{"a"}, []publishers.Reply{reply("a", "b"), {}}, []publishers.Reply{reply("c", "b")})
	if !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%q", got)
	}
}

// A publisher that says itself that it still publishes the key has not withdrawn it, also if nobody looked at URLs: another cluster of the issuer has it, too.
func TestStillPublishedForAnother(t *testing.T) {
	t.Parallel()
	r := Report{KeyIDs: []string{"k"}, Results: []publishers.Reply{{Publisher: "a", Outcome: &publishers.Outcome{Status: "accepted", Published: []publishers.Key{{Cluster: "other", KeyID: "k"}}}}}}
	if err := r.inEffect(); !errors.Is(err, ErrStillPublished) || !strings.Contains(err.Error(), "publisher a") {
		t.Error(err)
	}
	r.KeyIDs = []string{"l"}
	if err := r.inEffect(); err != nil {
		t.Error(err)
	}
}
