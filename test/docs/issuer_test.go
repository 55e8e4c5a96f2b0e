package docs_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
	"github.com/kube-iam-assume/kube-iam-assume/test/kubeadm"
)

// kubeadmSnippet is the guide's configuration.
func kubeadmSnippet(t *testing.T) string {
	t.Helper()
	for _, b := range read(t, guide).blocks {
		if strings.Contains(b.text, "kubeadm.k8s.io/v1beta4") {
			return b.text
		}
	}
	t.Fatal("no snippet for kubeadm")
	return ""
}

// configure makes an API server's configuration of what the real kubeadm makes of the snippet. Files are the test's own.
func configure(t *testing.T, snippet string, keys kube.Keys) kube.Config {
	t.Helper()
	c := kube.Config{Keys: keys}
	for _, flag := range kubeadm.APIServerFlags(t, snippet) {
		name, value, _ := strings.Cut(flag, "=")
		switch {
		case name == "--service-account-issuer":
			c.Issuers = append(c.Issuers, value)
		case name == "--api-audiences", strings.HasPrefix(name, "--service-account-") && !strings.HasSuffix(name, "-file"):
			c.Flags = append(c.Flags, flag)
		}
	}
	return c
}

// The guide's words, on two real API servers: the first has kubeadm's snippet, the second is not changed yet, and then has its first pass
// and the first round of a rotation.
func TestIssuerOnRealAPIServers(t *testing.T) {
	t.Parallel()
	keys := kube.Keys{Sign: kube.NewKey(t, kube.RSA2048)}
	after := configure(t, kubeadmSnippet(t), keys)
	if len(after.Issuers) != 2 || len(after.Flags) != 3 {
		t.Fatalf("issuers %v, want new and old; flags %v, want three", after.Issuers, after.Flags)
	}
	issuer, old := after.Issuers[0], after.Issuers[1]
	cluster := kube.Start(t, kube.Options{Servers: []kube.Config{after, {Keys: keys, Issuers: []string{old}}}})
	cluster.CreateServiceAccount(t, "production", "payments")

	signed := cluster.Token(t, 0, "production", "payments", nil, 600)
	before := cluster.Token(t, 1, "production", "payments", nil, 600)
	checkClaims(t, signed, issuer, old)
	checkClaims(t, before, old, old)
	checkDiscovery(t, cluster, issuer)
	checkAccepted(t, cluster, 0, "a token of the new issuer", signed, true)
	checkAccepted(t, cluster, 0, "a token of the old issuer", before, true)
	checkAccepted(t, cluster, 1, "a token of the new issuer, before the first pass", signed, false)

	firstPass := configure(t, kubeadmSnippet(t), keys)
	slices.Reverse(firstPass.Issuers)
	added := kube.NewKey(t, kube.RSA2048)
	other := kube.NewKey(t, kube.RSA2048)
	firstPass.Flags = append(firstPass.Flags,
		"--service-account-key-file="+publicKeys(t, added, keys.Sign), "--service-account-key-file="+privateKeys(t, keys.Sign, other))
	cluster.Servers[1].Restart(t, firstPass)
	checkAccepted(t, cluster, 1, "a token of the new issuer, after the first pass", signed, true)
	checkAccepted(t, cluster, 0, "a token of the first pass", cluster.Token(t, 1, "production", "payments", nil, 600), true)
	checkListed(t, cluster, 1, added, keys.Sign, other)
}

// publicKeys is kubeadm's sa.pub with several keys in it.
func publicKeys(t *testing.T, keys ...*kube.Key) string {
	t.Helper()
	var all []byte
	for _, key := range keys {
		all = append(all, key.PublicPEM()...)
	}
	return writeKeys(t, "sa.pub", all)
}

// privateKeys is k3s's service.key: keys of RSA in their traditional form.
func privateKeys(t *testing.T, keys ...*kube.Key) string {
	t.Helper()
	var all []byte
	for _, key := range keys {
		private, ok := key.Private().(*rsa.PrivateKey)
		if !ok {
			t.Fatalf("%T is no key of RSA", key.Private())
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)})...)
	}
	return writeKeys(t, "service.key", all)
}

func writeKeys(t *testing.T, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func checkClaims(t *testing.T, token, issuer, audience string) {
	t.Helper()
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != issuer || !slices.Equal(claims.Audience, jwt.Audience{audience}) {
		t.Errorf("issuer %s and audience %s, want %s and %s", claims.Issuer, claims.Audience, issuer, audience)
	}
}

func checkDiscovery(t *testing.T, cluster *kube.Cluster, issuer string) {
	t.Helper()
	body, err := cluster.Admin(0).Discovery().RESTClient().Get().AbsPath("/.well-known/openid-configuration").
		SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatal(err)
	}
	if document.Issuer != issuer || document.JWKS != issuer+"/openid/v1/jwks" {
		t.Errorf("discovery says %+v, want %s", document, issuer)
	}
}

func checkAccepted(t *testing.T, cluster *kube.Cluster, server int, what, token string, want bool) {
	t.Helper()
	client, err := kubernetes.NewForConfig(cluster.TokenConfig(server, token))
	if err != nil {
		t.Fatal(err)
	}
	review := &authentication.SelfSubjectReview{}
	answer, err := client.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), review, meta.CreateOptions{})
	if accepted := err == nil && answer.Status.UserInfo.Username == "system:serviceaccount:production:payments"; accepted != want {
		t.Errorf("%s at server %d: accepted %t (%v), want %t", what, server, accepted, err, want)
	}
}

func checkListed(t *testing.T, cluster *kube.Cluster, server int, keys ...*kube.Key) {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(cluster.JWKS(t, server), &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if len(set.Key(key.ID())) == 0 {
			t.Errorf("server %d does not list %s", server, key.ID())
		}
	}
}
