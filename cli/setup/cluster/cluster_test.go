package cluster_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/cli/distribution"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/cluster"
	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/printed"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	issuer = "https://oidc.example.com/prod-eu1"
	before = "https://kubernetes.default.svc.cluster.local"
)

// What is printed for each distribution is in testdata, and what is YAML in it parses without a key twice.
func TestEveryDistribution(t *testing.T) {
	t.Parallel()
	for _, name := range distribution.Names() {
		out, err := run(t, "--issuer-url", issuer, "--issuer-before", before, "--distribution", string(name))
		if err != nil {
			t.Fatal(err)
		}
		printed.Golden(t, string(name)+".txt", out)
		s := cluster.Write(name, "test", issuer, before)
		if s.Where == "" || len(s.Notes) < 2 || strings.Contains(out, "BEFORE") || strings.Contains(out, "ISSUER") {
			t.Errorf("%s: %+v", name, s)
		}
		rounds := strings.Contains(out, "round 1: on every API server, "+before+" first and "+issuer+" second")
		if oneByOne := strings.Contains(out, "One control plane node at a time"); rounds != oneByOne {
			t.Errorf("%s: two rounds: %t, API servers are changed one by one: %t", name, rounds, oneByOne)
		}
		switch name {
		case distribution.Minikube, distribution.MicroK8s, distribution.OpenShift, distribution.Generic: // command lines
		default:
			var content map[string]any
			if err := yaml.Unmarshal([]byte(s.Text), &content); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// A real API server takes the flags, signs with the new issuer, takes tokens of the old one, and keeps default tokens away from it.
func TestFlagsInARealAPIServer(t *testing.T) {
	t.Parallel()
	var issuers, others []string
	for line := range strings.Lines(cluster.Write(distribution.Generic, "test", issuer, before).Text) {
		line = strings.TrimSpace(line)
		if value, is := strings.CutPrefix(line, "--service-account-issuer="); is {
			issuers = append(issuers, value)
		} else {
			others = append(others, line)
		}
	}
	key := kube.NewKey(t, kube.RSA2048)
	c := kube.Start(t, kube.Options{Servers: []kube.Config{{Keys: kube.Keys{Sign: key}, Issuers: []string{before}}}})
	c.CreateServiceAccount(t, "production", "payments")
	old := c.Token(t, 0, "production", "payments", nil, 3600)
	c.Servers[0].Restart(t, kube.Config{Keys: kube.Keys{Sign: key}, Issuers: issuers, Flags: others})
	claims := claimsOf(t, c.Token(t, 0, "production", "payments", nil, 3600))
	if claims.Issuer != issuer || !slices.Equal(claims.Audience, []string{before}) {
		t.Errorf("a default token has the issuer %s and the audience %v", claims.Issuer, claims.Audience)
	}
	bearer, err := kubernetes.NewForConfig(c.TokenConfig(0, old))
	if err != nil {
		t.Fatal(err)
	}
	who, err := bearer.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authentication.SelfSubjectReview{}, meta.CreateOptions{})
	if err != nil || who.Status.UserInfo.Username != "system:serviceaccount:production:payments" {
		t.Errorf("a token of the old issuer: %v, %v", who, err)
	}
	if _, err := run(t, "--kubeconfig", c.Kubeconfig(t, 0), "--issuer-url", "https://oidc.example.com/other"); !errors.Is(err, distribution.ErrNoNodes) {
		t.Errorf("a cluster without nodes: %v", err)
	}
	node := &core.Node{ObjectMeta: meta.ObjectMeta{Name: "one", Labels: map[string]string{"microk8s.io/cluster": "true"}}}
	if _, err := c.Admin(0).CoreV1().Nodes().Create(t.Context(), node, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, "--kubeconfig", c.Kubeconfig(t, 0), "--issuer-url", "https://oidc.example.com/other")
	if err != nil || !strings.Contains(out, "# microk8s (node one has the label microk8s.io/cluster)") || !strings.Contains(out, "--api-audiences="+issuer) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := run(t, "--kubeconfig", c.Kubeconfig(t, 0), "--issuer-url", issuer); !errors.Is(err, cluster.ErrSame) {
		t.Errorf("the issuer that is there: %v", err)
	}
}

func run(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	c := cluster.Command()
	c.SilenceErrors, c.SilenceUsage = true, true
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetArgs(arguments)
	err := c.ExecuteContext(t.Context())
	return out.String(), err
}

type tokenClaims struct {
	Issuer   string   `json:"iss"`
	Audience []string `json:"aud"`
}

func claimsOf(t *testing.T, token string) tokenClaims {
	t.Helper()
	var claims tokenClaims
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}
