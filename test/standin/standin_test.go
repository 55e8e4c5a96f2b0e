package standin_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

const issuer = "https://oidc.example.com/standin"

var a, b = must(standin.NewRSAKey()), must(standin.NewECKey())

func start(t *testing.T, servers int) *standin.Cluster {
	t.Helper()
	c, err := standin.Start(standin.Options{Issuer: issuer, Servers: servers, Sign: a, AdvertisePrefix: "198.51.100."})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask is a GET of one API server with a token.
func ask(t *testing.T, c *standin.Cluster, address, path, accept, token string) (status int, body string, header http.Header) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA)
	transport := &http.Transport{DialContext: c.Dial, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "kubernetes.default.svc"}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, string(must(io.ReadAll(response.Body))), response.Header
}

// What a real API server answers was measured; these are its answers.
func TestDocuments(t *testing.T) {
	t.Parallel()
	c := start(t, 1)
	token := must(c.Servers[0].Token("kube-iam-assume", "cluster-exporter", nil, 0))
	const jwksType, jsonType = "application/jwk-set+json", "application/json"
	for _, test := range []struct {
		path, accept string
		status       int
	}{
		{"/openid/v1/jwks", jwksType, 200},
		{"/openid/v1/jwks", "application/jwk-set+json, application/json", 200},
		{"/openid/v1/jwks", "*/*", 200},
		{"/openid/v1/jwks", "application/json, */*", 200},
		{"/openid/v1/jwks", jsonType, 406},
		{"/openid/v1/jwks", "application/*", 406},
		{"/.well-known/openid-configuration", jsonType, 200},
		{"/.well-known/openid-configuration", jwksType, 406},
	} {
		if status, body, _ := ask(t, c, c.Servers[0].Advertised(), test.path, test.accept, token); status != test.status {
			t.Errorf("%s with Accept %s: %d %s, want %d", test.path, test.accept, status, body, test.status)
		}
	}
	_, body, header := ask(t, c, standin.ServiceAddress, "/openid/v1/jwks", jwksType, token)
	if keys := must(jwks.Parse([]byte(body))); len(keys) != 1 || !keys[0].Equal(a.Key) || header.Get("Content-Type") != jwksType || header.Get("Date") == "" {
		t.Errorf("%s %v", body, header)
	}
	_, body, _ = ask(t, c, standin.ServiceAddress, "/.well-known/openid-configuration", jsonType, token)
	for _, want := range []string{`"issuer":"` + issuer + `"`, c.Servers[0].Advertised(), `["RS256"]`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", body, want)
		}
	}
	c.Servers[0].SetIssuer("kubernetes/serviceaccount")
	token = must(c.Servers[0].Token("kube-iam-assume", "cluster-exporter", nil, 0))
	if status, _, _ := ask(t, c, standin.ServiceAddress, "/openid/v1/jwks", jwksType, token); status != 404 {
		t.Errorf("issuer that is not https: %d", status)
	}
}

func TestAuthenticationFollowsTheKeys(t *testing.T) {
	t.Parallel()
	c := start(t, 1)
	s := c.Servers[0]
	by := map[string]string{}
	mint := func(name string, key *standin.Key, audiences ...string) {
		s.SetKeys(key)
		by[name] = must(s.Token("ns", "sa", audiences, 0))
	}
	mint("a", a)
	mint("b", b)
	mint("a for a cloud", a, "sts.amazonaws.com")
	by["nobody"] = "x"
	for _, test := range []struct {
		verify []*standin.Key
		want   map[string]int
	}{
		{[]*standin.Key{a}, map[string]int{"a": 200, "b": 401, "a for a cloud": 401, "nobody": 401}},
		{[]*standin.Key{a, b}, map[string]int{"a": 200, "b": 200}},
		{[]*standin.Key{b}, map[string]int{"a": 401, "b": 200}},
	} {
		s.SetKeys(a, test.verify...)
		for name, want := range test.want {
			if status, _, _ := ask(t, c, s.Advertised(), "/openid/v1/jwks", "*/*", by[name]); status != want {
				t.Errorf("token of %s with %d keys: %d, want %d", name, len(test.verify), status, want)
			}
		}
	}
}

func client(t *testing.T, c *standin.Cluster, token string) kubernetes.Interface {
	t.Helper()
	return must(kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + standin.ServiceAddress, BearerToken: token, Dial: c.Dial,
		TLSClientConfig: rest.TLSClientConfig{CAData: c.CA, ServerName: "kubernetes.default.svc"},
	}))
}

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	c := start(t, 1)
	k := client(t, c, must(c.Servers[0].PodToken("ns", "sa", "pod-0", nil, 3600)))
	request := func(namespace, name string, seconds int64) (string, error) {
		answer, err := k.CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), name, &authentication.TokenRequest{
			Spec: authentication.TokenRequestSpec{Audiences: []string{"x"}, ExpirationSeconds: &seconds},
		}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return answer.Status.Token, nil
	}
	token := must(request("ns", "sa", 600))
	parsed := must(jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256}))
	var claims jwt.Claims
	if err := parsed.Claims(a.Public(), &claims); err != nil {
		t.Fatal(err)
	}
	if claims.Issuer != issuer || claims.Subject != "system:serviceaccount:ns:sa" || claims.Expiry.Time().Sub(claims.IssuedAt.Time()) != 10*time.Minute ||
		len(claims.Audience) != 1 || claims.ID == "" || parsed.Headers[0].KeyID != a.ID() {
		t.Errorf("%+v", claims)
	}
	for name, test := range map[string]struct {
		namespace, account string
		seconds            int64
		is                 func(error) bool
	}{
		"too short":           {"ns", "sa", 599, kubeerrors.IsInvalid},
		"too long":            {"ns", "sa", 1<<32 + 1, kubeerrors.IsInvalid},
		"another's":           {"ns", "other", 600, kubeerrors.IsForbidden},
		"in another's domain": {"other", "sa", 600, kubeerrors.IsForbidden},
	} {
		if _, err := request(test.namespace, test.account, test.seconds); !test.is(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	event := &core.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "e-"}, InvolvedObject: core.ObjectReference{Namespace: "ns"}, Reason: "Seen"}
	if _, err := k.CoreV1().Events("ns").Create(t.Context(), event, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if events := c.Events(); len(events) != 1 || events[0].Reason != "Seen" || !strings.HasPrefix(events[0].Name, "e-") {
		t.Errorf("%+v", events)
	}
}

func TestEndpointSlices(t *testing.T) {
	t.Parallel()
	c := start(t, 3)
	k := client(t, c, must(c.Servers[0].Token("ns", "sa", nil, 0)))
	listed := func(selector string) (n int) {
		list, err := k.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			t.Fatal(err)
		}
		for _, slice := range list.Items {
			n += len(slice.Endpoints)
		}
		return n
	}
	const selector = "kubernetes.io/service-name=kubernetes"
	if n, others := listed(selector), listed("kubernetes.io/service-name=dns"); n != 3 || others != 0 {
		t.Errorf("%d listed, %d of another service", n, others)
	}
	c.Servers[2].Kill()
	if n := listed(selector); n != 3 {
		t.Errorf("killed: %d listed", n)
	}
	c.Servers[2].Stop()
	if n := listed(selector); n != 2 {
		t.Errorf("stopped: %d listed", n)
	}
	if err := c.Servers[2].Start(); err != nil {
		t.Fatal(err)
	}
	if n := listed(selector); n != 3 {
		t.Errorf("started: %d listed", n)
	}
	c.Close()
	if _, err := c.Dial(t.Context(), "tcp", standin.ServiceAddress); err == nil {
		t.Error("dialled what is closed")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
