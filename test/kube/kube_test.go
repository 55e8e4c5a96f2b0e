package kube_test

import (
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const audience = "sts.amazonaws.com"

// One server through a whole rotation, each step proven by what it publishes and by a token an independent verifier takes.
func TestRotation(t *testing.T) {
	t.Parallel()
	a, b := kube.NewKey(t, kube.RSA2048), kube.NewKey(t, kube.P256)
	cluster := kube.Start(t, kube.Options{Keys: kube.Keys{Sign: a}})
	server := cluster.Servers[0]
	cluster.CreateServiceAccount(t, "app", "payments")
	early := cluster.Token(t, 0, "app", "payments", nil, 600)
	projected := cluster.Kubelet(t, 0, "app", "payments", 600)

	steps := []struct {
		name string
		keys kube.Keys
	}{
		{"before", kube.Keys{Sign: a, Verify: []*kube.Key{a}}},
		{"published ahead", kube.Keys{Sign: a, Verify: []*kube.Key{a, b}}},
		{"switched", kube.Keys{Sign: b, Verify: []*kube.Key{a, b}}},
		{"old key gone", kube.Keys{Sign: b, Verify: []*kube.Key{b}}},
	}
	for i, step := range steps {
		if i > 0 {
			config := server.Config()
			config.Keys = step.keys
			server.Restart(t, config)
		}
		checkPublished(t, step.name, cluster, 0, step.keys)
		checkToken(t, step.name, cluster, 0, step.keys.Sign)
	}
	if err := whoAmI(t, cluster, early); !kubeerrors.IsUnauthorized(err) {
		t.Errorf("a token of the key that is gone got %v, want 401", err)
	}
	checkProjected(t, cluster, projected)
	checkKubeconfig(t, cluster)
}

// checkProjected begins with a token by the key that is gone.
func checkProjected(t *testing.T, cluster *kube.Cluster, projected *kube.ProjectedToken) {
	t.Helper()
	old := readFile(t, projected.File)
	if err := whoAmI(t, cluster, old); old != projected.Token() || !kubeerrors.IsUnauthorized(err) {
		t.Errorf("the projected token before its renewal got %v, want 401", err)
	}
	server := cluster.Servers[0]
	server.Kill()
	if err := projected.Renew(t.Context()); err == nil || readFile(t, projected.File) != old {
		t.Errorf("renewal without an API server: error %v, and the file changed: %t", err, readFile(t, projected.File) != old)
	}
	server.Start(t, server.Config())
	if err := projected.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := whoAmI(t, cluster, readFile(t, projected.File)); err != nil {
		t.Errorf("the renewed projected token got %v", err)
	}
}

func checkKubeconfig(t *testing.T, cluster *kube.Cluster) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", cluster.Kubeconfig(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.Discovery().ServerVersion()
	if err != nil || version.GitVersion != cluster.Version() || !strings.HasPrefix(version.GitVersion, "v"+minor(t)+".") ||
		version.Major+"."+version.Minor != minor(t) {
		t.Errorf("through the kubeconfig the server says it is %v, %v", version, err)
	}
}

// minor is what the environment asks for.
func minor(t *testing.T) string {
	t.Helper()
	return cmp.Or(os.Getenv(fromsource.KubernetesVariable), "1.36")
}

// Three servers in the middle of a rotation: each has its own view, one address each, and one may die.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	a, b := kube.NewKey(t, kube.P256), kube.NewKey(t, kube.RSA2048)
	issuers := []string{"https://issuer.example.com/new", kube.DefaultIssuer}
	configs := []kube.Config{
		{Issuers: issuers, Keys: kube.Keys{Sign: a, Verify: []*kube.Key{a}}},
		{Issuers: issuers, Keys: kube.Keys{Sign: a, Verify: []*kube.Key{a, b}}},
		{Issuers: issuers, Keys: kube.Keys{Sign: b, Verify: []*kube.Key{b, a}}},
	}
	cluster := kube.Start(t, kube.Options{Servers: configs})
	cluster.CreateServiceAccount(t, "app", "payments")
	cluster.WaitForEndpoints(t, 0, 1, 2)

	for i, config := range configs {
		checkPublished(t, "of its own", cluster, i, config.Keys)
		checkToken(t, "of its own", cluster, i, config.Keys.Sign)
	}
	for i, endpoint := range cluster.Endpoints() {
		if got := keysSeenAt(t, cluster, endpoint); !slices.Equal(got, ids(configs[i].Keys.Verify)) {
			t.Errorf("%s publishes %v, want those of server %d", endpoint, got, i)
		}
	}
	seen := map[int]bool{}
	for range configs {
		seen[len(keysSeenAt(t, cluster, kube.ServiceAddress))] = true
	}
	if len(seen) != 2 {
		t.Errorf("the service address leads to sets of %v keys, want both 1 and 2", seen)
	}
	t.Run("exporter", func(t *testing.T) { exporterMayOnlyDoItsWork(t, cluster) })
	t.Run("one dies", func(t *testing.T) {
		cluster.Servers[0].Kill()
		cluster.WaitForEndpoints(t, 1, 2)
		cluster.Servers[0].Start(t, configs[1])
		cluster.WaitForEndpoints(t, 0, 1, 2)
		checkPublished(t, "after its return", cluster, 0, configs[1].Keys)
	})
}

// keysSeenAt asks an address as the exporter does, trusting the cluster's authority and one name only, with a bearer token.
func keysSeenAt(t *testing.T, cluster *kube.Cluster, address string) []string {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(readFile(t, cluster.CAFile))) {
		t.Fatal("the authority's file holds no certificate")
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:       cluster.Dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc"},
	}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/openid/v1/jwks", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+cluster.Token(t, 0, "app", "payments", nil, 600))
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s answers %s, %v", address, response.Status, err)
	}
	return setIDs(set)
}

func checkPublished(t *testing.T, when string, cluster *kube.Cluster, server int, keys kube.Keys) {
	t.Helper()
	if got, want := setIDs(published(t, cluster, server)), ids(keys.Verify); !slices.Equal(got, want) {
		t.Errorf("%s: server %d publishes %v, want %v", when, server, got, want)
	}
}

// checkToken mints a token at a server and has it judged by another implementation against the published keys.
func checkToken(t *testing.T, when string, cluster *kube.Cluster, server int, signer *kube.Key) {
	t.Helper()
	raw := cluster.Token(t, server, "app", "payments", []string{audience}, 600)
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.Headers[0].KeyID; got != signer.ID() {
		t.Errorf("%s: server %d signs with %s, want %s", when, server, got, signer.ID())
	}
	var keys []crypto.PublicKey
	for _, key := range published(t, cluster, server).Keys {
		keys = append(keys, key.Key)
	}
	verifier := oidc.NewVerifier(cluster.Servers[server].Config().Issuers[0], &oidc.StaticKeySet{PublicKeys: keys},
		&oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256}})
	token, err := verifier.Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("%s: %v", when, err)
	}
	if token.Subject != "system:serviceaccount:app:payments" {
		t.Errorf("%s: the token is about %s", when, token.Subject)
	}
}

func published(t *testing.T, cluster *kube.Cluster, server int) jose.JSONWebKeySet {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(cluster.JWKS(t, server), &set); err != nil {
		t.Fatal(err)
	}
	return set
}

func setIDs(set jose.JSONWebKeySet) []string {
	var ids []string
	for _, key := range set.Keys {
		ids = append(ids, key.KeyID)
	}
	return ids
}

func ids(keys []*kube.Key) []string {
	var ids []string
	for _, key := range keys {
		ids = append(ids, key.ID())
	}
	return ids
}

// whoAmI asks something every authenticated caller may ask.
func whoAmI(t *testing.T, cluster *kube.Cluster, token string) error {
	t.Helper()
	client, err := kubernetes.NewForConfig(cluster.TokenConfig(0, token))
	if err != nil {
		t.Fatal(err)
	}
	return client.Discovery().RESTClient().Get().AbsPath("/apis").Do(t.Context()).Error()
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	a := kube.NewKey(t, kube.P256)
	for name, options := range map[string]kube.Options{
		"four servers":           {APIServers: 4},
		"fewer configs":          {APIServers: 3, Servers: []kube.Config{{}}},
		"configs and an issuer":  {Issuer: kube.DefaultIssuer, Servers: []kube.Config{{}}},
		"configs and a key":      {Keys: kube.Keys{Sign: a}, Servers: []kube.Config{{}}},
		"verify without signing": {Keys: kube.Keys{Verify: []*kube.Key{a}}},
	} {
		if err := options.Check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := (kube.Options{}).Check(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
}
