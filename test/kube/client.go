package kube

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	kubeerrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

const (
	serviceRange = "10.96.0.0/16"
	serviceIP    = "10.96.0.1" // of the Service `kubernetes`, the first address of the range
	// ServiceAddress is the address pods have for the API servers. Through Cluster.Dial it leads to another one each time,
	// also to one that is down, as it does in a cluster until the address is dropped.
	ServiceAddress = serviceIP + ":443"
)

// AdminConfig is how an administrator (system:masters) reaches one API server, counted from zero. Requests, watches too, end
// after 30 s; there is no rate limit and no proxy.
func (c *Cluster) AdminConfig(server int) *rest.Config {
	config := c.config(server)
	config.CertData, config.KeyData = c.admin.certificate, c.admin.key
	return config
}

// TokenConfig is how the bearer of a token reaches one API server.
func (c *Cluster) TokenConfig(server int, token string) *rest.Config {
	config := c.config(server)
	config.BearerToken = token
	return config
}

func (c *Cluster) config(server int) *rest.Config {
	return &rest.Config{
		Host:            c.Servers[server].URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: slices.Clone(c.CA)},
		Dial:            c.Dial,
		Proxy:           func(*http.Request) (*url.URL, error) { return nil, nil },
		QPS:             -1,
		Timeout:         30 * time.Second,
	}
}

// Admin is an administrator's client of one API server, counted from zero. It stays the same when the server restarts.
func (c *Cluster) Admin(server int) kubernetes.Interface { return c.Servers[server].client }

// anyone is the administrator's client of the first server that runs.
func (c *Cluster) anyone() kubernetes.Interface {
	for _, s := range c.Servers {
		if s.Running() {
			return s.client
		}
	}
	return c.Servers[0].client
}

// Kubeconfig writes a file by which kubectl and others reach one API server, counted from zero, as administrator.
func (c *Cluster) Kubeconfig(t testing.TB, server int) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["test"] = &clientcmdapi.Cluster{Server: c.Servers[server].URL(), CertificateAuthorityData: c.CA}
	config.AuthInfos["admin"] = &clientcmdapi.AuthInfo{
		ClientCertificateData: c.admin.certificate, ClientKeyData: c.admin.key,
	}
	config.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "admin"}
	config.CurrentContext = "test"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatalf("write a kubeconfig: %v", err)
	}
	return file
}

// Dial connects to an advertised address, to ServiceAddress, or to any other address as it is. It fits rest.Config.Dial and
// http.Transport.DialContext.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == ServiceAddress {
		next := int(c.turn.Add(1)) % len(c.Servers)
		address = c.Servers[next].listen()
	}
	for _, s := range c.Servers {
		if address == s.Endpoint() {
			address = s.listen()
		}
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return dialer.DialContext(ctx, network, address)
}

// CreateServiceAccount makes a service account, and its namespace if it is missing.
func (c *Cluster) CreateServiceAccount(t testing.TB, namespace, name string) {
	t.Helper()
	if err := c.createServiceAccount(t.Context(), namespace, name); err != nil {
		t.Fatalf("create service account %s/%s: %v", namespace, name, err)
	}
}

func (c *Cluster) createServiceAccount(ctx context.Context, namespace, name string) error {
	admin := c.anyone().CoreV1()
	space := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}}
	if _, err := admin.Namespaces().Create(ctx, space, meta.CreateOptions{}); err != nil && !kubeerrors.IsAlreadyExists(err) {
		return err
	}
	account := &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}}
	_, err := admin.ServiceAccounts(namespace).Create(ctx, account, meta.CreateOptions{})
	return err
}

// Token asks one API server, counted from zero, for a service account's token. No audiences means the server's own; the
// least life Kubernetes gives is 600 s.
func (c *Cluster) Token(t testing.TB, server int, namespace, name string, audiences []string, seconds int64) string {
	t.Helper()
	status, err := c.requestToken(t.Context(), server, namespace, name, audiences, seconds)
	if err != nil {
		t.Fatalf("token of %s/%s from %s: %v", namespace, name, c.Servers[server].name(), err)
	}
	return status.Token
}

func (c *Cluster) requestToken(
	ctx context.Context, server int, namespace, name string, audiences []string, seconds int64,
) (authentication.TokenRequestStatus, error) {
	request := &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}
	answer, err := c.Admin(server).CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, meta.CreateOptions{})
	if err != nil {
		return authentication.TokenRequestStatus{}, err
	}
	return answer.Status, nil
}

// JWKS is what one API server, counted from zero, publishes as its keys, byte for byte.
func (c *Cluster) JWKS(t testing.TB, server int) []byte {
	t.Helper()
	// Without this Accept, or with a client-go default that lacks */*, the answer is 406.
	body, err := c.Admin(server).Discovery().RESTClient().Get().AbsPath("/openid/v1/jwks").
		SetHeader("Accept", "application/jwk-set+json").DoRaw(t.Context())
	if err != nil {
		t.Fatalf("JWKS of %s: %v", c.Servers[server].name(), err)
	}
	return body
}

// waitForNamespaces waits for those every cluster has, which the API servers make only after they say they are ready.
func (c *Cluster) waitForNamespaces(ctx context.Context) error {
	return c.Servers[0].process.WaitUntil(ctx, "complete", func(ctx context.Context) error {
		for _, name := range []string{meta.NamespaceDefault, meta.NamespaceSystem} {
			if _, err := c.Admin(0).CoreV1().Namespaces().Get(ctx, name, meta.GetOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
}
