package clouds

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/hosted"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/party"
)

const (
	clusterID = hosted.ClusterID
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
	patience  = time.Minute
	jwksPath  = "/openid/v1/jwks"
	audience  = "vault"
)

// world has the three clouds, behind one host for what strangers reach: the documents of each below its name, and AWS's webhook.
type world struct {
	*hosted.Sites

	stranger *http.Client
	sites    map[string]*site
}

// site is one cloud.
type site struct {
	publisher   string
	destination map[string]any // of the exporter
	said        func() string  // the function's log
	reconcile   func() error
}

var clouds = []string{"aws", "gcp", "azure"} // the first has the issuer's URL

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Sites: hosted.New(t), sites: map[string]*site{}}
	w.stranger = w.Network.Client()
	t.Cleanup(func() {
		for name, s := range w.sites {
			if t.Failed() {
				t.Logf("%s:\n%s", name, tail(s.said(), 20))
			}
		}
	})
	return w
}

// settings writes what stands beside a cloud's function. The first cloud is the primary, each other one a mirror of it; each knows of all.
func (w *world) settings(cloud string, key *kube.Key) {
	w.Helper()
	published, err := jwks.New(key.Public())
	if err != nil {
		w.Fatal(err)
	}
	var mirrors []string
	for _, other := range clouds[1:] {
		if other != cloud {
			mirrors = append(mirrors, w.Documents(other))
		}
	}
	w.Settings(cloud, jwks.Set{published}, mirrors...)
}

// keys are what a stranger reads at one of the clouds; none while there is nothing to read.
func (w *world) keys(cloud string) jwks.Set {
	w.Helper()
	keys, err := jwks.Parse(w.read(cloud, jwksPath))
	if err != nil {
		return nil
	}
	return keys
}

func (w *world) read(cloud, path string) []byte {
	w.Helper()
	response, err := w.stranger.Get(w.Documents(cloud) + path)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.Fatal(err)
	}
	return body
}

func (w *world) publishes(cloud string, key *kube.Key) bool {
	_, found := w.keys(cloud).ByID(key.ID())
	return found
}

// everywhere waits until something is so in every cloud, or in those that are named.
func (w *world) everywhere(what string, so func(cloud string) bool, in ...string) {
	w.Helper()
	if len(in) == 0 {
		in = clouds
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		left := slices.DeleteFunc(slices.Clone(in), so)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("not within %s: %s in %q", patience, what, left)
		}
	}
}

func (w *world) reconcile(in ...string) {
	w.Helper()
	if len(in) == 0 {
		in = clouds
	}
	for _, cloud := range in {
		if err := w.sites[cloud].reconcile(); err != nil {
			w.Fatalf("%s: reconcile: %v", cloud, err)
		}
	}
}

// said is whether one line of a function's log has all of these words.
func (w *world) said(cloud string, words ...string) bool {
	for line := range strings.Lines(w.sites[cloud].said()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return true
		}
	}
	return false
}

// TestThreeClouds is the whole story.
func TestThreeClouds(t *testing.T) {
	w := newWorld(t)
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.RSA2048) // all that Entra takes
	cluster := kube.Start(t, kube.Options{Issuer: w.Issuer(), Keys: kube.Keys{Sign: a}})
	cluster.InstallExporter(t, namespace, account)
	cluster.CreateServiceAccount(t, party.Namespace, party.Account)
	aws, google, azure := w.startAWS(a), w.startGoogle(a), w.startAzure(a)
	w.sites["aws"], w.sites["gcp"], w.sites["azure"] = aws, google.site, azure
	w.reconcile()
	w.everywhere("the enrolled key is published before the first snapshot", func(cloud string) bool { return w.publishes(cloud, a) })
	kubelet := w.export(cluster)
	w.everywhere("a snapshot is accepted", func(cloud string) bool { return w.said(cloud, "snapshot.accepted", "attested by") })
	relying := party.Rely(t, cluster, party.Options{Issuer: w.Issuer(), Audience: audience, Client: w.stranger})

	server := cluster.Servers[0]
	with := func(sign *kube.Key, verify ...*kube.Key) kube.Config {
		return kube.Config{Keys: kube.Keys{Sign: sign, Verify: verify}, Issuers: []string{w.Issuer()}}
	}
	google.down(true)
	server.Restart(t, with(a, a, b)) // it knows the new key
	w.everywhere("the new key is published", func(cloud string) bool { return w.publishes(cloud, b) }, "aws", "azure")
	w.reconcile("aws", "azure")
	if w.publishes("gcp", b) || !w.said("aws", "mirror.differs", "/gcp/", b.ID()) || !w.said("azure", "mirror.differs", "/gcp/", b.ID()) {
		t.Error("a mirror that was sent nothing has the key, or nobody says that it differs")
	}
	google.down(false)
	w.everywhere("the new key is published", func(cloud string) bool { return w.publishes(cloud, b) })
	server.Restart(t, with(b, a, b)) // it signs with it
	w.wait("the new key has signed", func() bool { return relying.Seen(b) })
	w.everywhere("the new key has vouched", func(cloud string) bool { return w.said(cloud, "snapshot.accepted", "attested by "+b.ID()) })
	if err := kubelet.Renew(t.Context()); err != nil { // whoever drops a key waits for the tokens it signed
		t.Fatal(err)
	}
	w.renew(cluster)
	server.Restart(t, with(b, b)) // it has forgotten the old one
	w.everywhere("the old key is retiring", func(cloud string) bool { return w.said(cloud, "key.retiring", a.ID()) })
	before := relying.Verified()
	w.wait("tokens of both keys go on being verified", func() bool { return relying.Verified() > before+10 })
	w.same(relying.Hold(2))
}

// same makes sure that all three have the same keys and the same discovery document, that tokens of each key are verified by any of them,
// and that none of them says otherwise.
func (w *world) same(tokens map[string]string) {
	w.Helper()
	before := map[string]int{}
	for _, cloud := range clouds {
		before[cloud] = len(w.sites[cloud].said())
		if len(w.keys(cloud)) != 2 || !bytes.Equal(w.keys(cloud).Canonical(), w.keys(clouds[0]).Canonical()) {
			w.Errorf("%s has the keys %q, %s has %q", cloud, w.keys(cloud).IDs(), clouds[0], w.keys(clouds[0]).IDs())
		}
		if discovery := "/.well-known/openid-configuration"; !bytes.Equal(w.read(cloud, discovery), w.read(clouds[0], discovery)) {
			w.Errorf("%s has another discovery document", cloud)
		}
		for id, token := range tokens {
			if err := w.verifyAt(cloud, token); err != nil {
				w.Errorf("by the documents of %s, a token of key %s: %v", cloud, id, err)
			}
		}
	}
	w.reconcile()
	for _, cloud := range clouds {
		if said := w.sites[cloud].said()[before[cloud]:]; strings.Contains(said, "mirror.") || strings.Contains(said, "readback.") || strings.Contains(said, "document.repaired") {
			w.Errorf("%s: %s", cloud, said)
		}
	}
}

// verifyAt verifies a token by the keys that one of the clouds has.
func (w *world) verifyAt(cloud, token string) error {
	ctx := oidc.ClientContext(w.Context(), w.stranger)
	config := &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256}}
	_, err := oidc.NewVerifier(w.Issuer(), oidc.NewRemoteKeySet(ctx, w.Documents(cloud)+jwksPath), config).Verify(ctx, token)
	return err
}

func (w *world) wait(what string, so func() bool) {
	w.Helper()
	w.everywhere(what, func(string) bool { return so() }, "all")
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
