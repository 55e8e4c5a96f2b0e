package demo

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// againstCluster runs exporter and publisher on this machine against the user's own cluster. It rotates nothing.
func (d *demo) againstCluster(ctx context.Context) (err error) {
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&clientcmd.ClientConfigLoadingRules{ExplicitPath: d.Kubeconfig}, nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return fmt.Errorf("kubeconfig %s: %w", d.Kubeconfig, err)
	}
	config, err := loader.ClientConfig()
	if err != nil {
		return fmt.Errorf("kubeconfig %s, context %q: %w", d.Kubeconfig, raw.CurrentContext, err)
	}
	config.Timeout = 10 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ns := "kube-iam-assume-demo-" + strings.ToLower(rand.Text()[:6])
	d.say("Your cluster: context %q at %s. The demo makes the namespace %s there and removes it at the end.", raw.CurrentContext, config.Host, ns)
	if err := d.ask(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.remove(context.WithoutCancel(ctx), client, ns)) }()
	if err := prepare(ctx, client, ns); err != nil {
		return err
	}
	keys, err := d.readCluster(ctx, client)
	if err != nil {
		return err
	}
	return d.showCluster(ctx, config, client, ns, keys)
}

func (d *demo) ask() error {
	if d.Yes {
		return nil
	}
	fmt.Fprint(d.Out, "            Go on? [y/N] ")
	line, err := bufio.NewReader(d.In).ReadString('\n')
	if answer := strings.ToLower(strings.TrimSpace(line)); answer == "y" || answer == "yes" {
		return nil
	}
	if err != nil && line == "" {
		return errors.New("nobody answered: run `kube-iam-assume demo --yes` to go on without a question")
	}
	return errors.New("nothing was changed")
}

// prepare makes what the chart would: a namespace, the exporter's account and its few rights.
func prepare(ctx context.Context, client kubernetes.Interface, ns string) error {
	meta := metav1.ObjectMeta{Name: account, Namespace: ns}
	create := metav1.CreateOptions{}
	if _, err := client.CoreV1().Namespaces().Create(ctx, &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, create); err != nil {
		return fmt.Errorf("make the namespace %s: %w", ns, err)
	}
	for _, name := range []string{account, "payments"} {
		if _, err := client.CoreV1().ServiceAccounts(ns).Create(ctx, &core.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, create); err != nil {
			return fmt.Errorf("make the service account %s: %w", name, err)
		}
	}
	_, err := client.RbacV1().Roles(ns).Create(ctx, &rbac.Role{ObjectMeta: meta, Rules: []rbac.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, ResourceNames: []string{account}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create"}},
	}}, create)
	if err != nil {
		return fmt.Errorf("make the exporter's role: %w", err)
	}
	_, err = client.RbacV1().RoleBindings(ns).Create(ctx, &rbac.RoleBinding{
		ObjectMeta: meta, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: account},
		Subjects: []rbac.Subject{{Kind: rbac.ServiceAccountKind, Name: account, Namespace: ns}},
	}, create)
	return err
}

func (d *demo) remove(ctx context.Context, client kubernetes.Interface, ns string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("remove the namespace %s yourself: %w", ns, err)
	}
	d.say("The namespace %s is being removed.", ns)
	return nil
}

// readCluster learns issuer and keys from the API server.
func (d *demo) readCluster(ctx context.Context, client kubernetes.Interface) (jwks.Set, error) {
	get := client.Discovery().RESTClient().Get
	body, err := get().AbsPath("/.well-known/openid-configuration").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the discovery document (an issuer that is not an https URL has none): %w", err)
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fmt.Errorf("discovery document: %w", err)
	}
	d.issuer = document.Issuer
	body, err = get().AbsPath("/openid/v1/jwks").SetHeader("Accept", "application/jwk-set+json, application/json").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the keys: %w", err)
	}
	return jwks.Parse(body)
}

func (d *demo) showCluster(ctx context.Context, config *rest.Config, client kubernetes.Interface, ns string, keys jwks.Set) error {
	d.say("It signs as the issuer %s with %d listed keys. Exporter and publisher run on this machine.", d.issuer, len(keys))
	if err := d.choosePort(ctx); err != nil {
		return err
	}
	d.serviceAccount = ns + "/" + account
	if err := d.startPublisher(ctx, keys); err != nil {
		return err
	}
	server, serverName, err := d.endpoint(config)
	if err != nil {
		return err
	}
	token, err := mint(ctx, client, ns, account, nil)
	if err != nil {
		return err
	}
	if err := d.startExporter(ctx, server, serverName, token, []string{server}); err != nil {
		return err
	}
	d.say("The exporter read the keys. Your API server vouched for its snapshot; the publisher checked all of it and accepted.")
	workload, err := mint(ctx, client, ns, "payments", []string{audience})
	if err != nil {
		return err
	}
	if err := d.verify(ctx, workload); err != nil {
		return err
	}
	d.say("A token of the service account %s/payments: ACCEPTED by an independent verifier against the published keys.", ns)
	if err := d.attack(ctx); err != nil {
		return err
	}
	d.say("Nothing was rotated: your workloads depend on your keys, and changing them needs your control plane's restart.")
	return d.finish(ctx, "kube-iam-assume enroll my-cluster > clusters/my-cluster.yaml")
}

// endpoint is how the exporter reaches the API server that the kubeconfig names.
func (d *demo) endpoint(config *rest.Config) (server, serverName string, err error) {
	if err := rest.LoadTLSFiles(config); err != nil {
		return "", "", err
	}
	u, err := url.Parse(config.Host)
	if err != nil || u.Scheme != "https" {
		return "", "", fmt.Errorf("the API server's URL %q is not an https one", config.Host)
	}
	if len(config.CAData) == 0 {
		return "", "", errors.New("the kubeconfig has no certificate authority: the exporter needs one")
	}
	if err := os.WriteFile(d.path("cluster-ca.pem"), config.CAData, 0o600); err != nil {
		return "", "", err
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	if serverName = config.ServerName; serverName == "" {
		serverName = u.Hostname()
	}
	return net.JoinHostPort(u.Hostname(), port), serverName, nil
}

func mint(ctx context.Context, client kubernetes.Interface, ns, name string, audiences []string) (string, error) {
	seconds := int64(3600)
	answer, err := client.CoreV1().ServiceAccounts(ns).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("get a token of %s/%s: %w", ns, name, err)
	}
	return answer.Status.Token, nil
}
