package demo

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// target is the user's own cluster.
type target struct {
	context             string
	client              kubernetes.Interface
	address, serverName string // of the API server that the kubeconfig names
	keys                jwks.Set
	namespace           string // the demo's
}

// againstCluster runs exporter and publisher on this machine against the user's own cluster. It rotates nothing.
func (d *demo) againstCluster(ctx context.Context) (err error) {
	c, err := d.connect(ctx)
	if err != nil {
		return err
	}
	d.say("Your cluster: context %q at https://%s. It signs as the issuer %s and lists %d keys.", c.context, c.address, d.issuer, len(c.keys))
	d.say("The demo makes the namespace %s there, with two service accounts, and removes it at the end.", c.namespace)
	if err := d.ask(ctx); err != nil {
		return err
	}
	made, err := c.makeNamespace(ctx)
	if made {
		defer func() { err = errors.Join(err, d.remove(context.WithoutCancel(ctx), c)) }()
	}
	if err != nil {
		return err
	}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	return d.showCluster(ctx, c)
}

// connect reads what can be read without changing anything.
func (d *demo) connect(ctx context.Context) (*target, error) {
	rules := &clientcmd.ClientConfigLoadingRules{Precedence: filepath.SplitList(d.Kubeconfig)}
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil)
	raw, err := loader.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", d.Kubeconfig, err)
	}
	config, err := loader.ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, fmt.Errorf("kubeconfig %s: there is no such file, or no cluster in it; without KUBECONFIG the demo needs no cluster", d.Kubeconfig)
	}
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s, context %q: %w", d.Kubeconfig, raw.CurrentContext, err)
	}
	config.Timeout = 10 * time.Second
	c := &target{context: raw.CurrentContext, namespace: "kube-iam-assume-demo-" + strings.ToLower(rand.Text()[:8])}
	if c.address, c.serverName, err = d.endpoint(config); err != nil {
		return nil, fmt.Errorf("kubeconfig %s, context %q: %w", d.Kubeconfig, raw.CurrentContext, err)
	}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("kubeconfig %s, context %q: %w", d.Kubeconfig, raw.CurrentContext, err)
	}
	c.keys, err = d.readCluster(ctx, c.client)
	return c, err
}

// ask waits for a person's yes.
func (d *demo) ask(ctx context.Context) error {
	nobody := errors.New("the demo asks before it makes a namespace, and nobody can answer here: run `bin/kube-iam-assume demo --yes`")
	switch {
	case d.Yes:
		return nil
	case !interactive(d.In):
		return nobody
	}
	fmt.Fprint(d.Out, "            Go on? [y/N] ")
	answer := make(chan string, 1) // the reader can't be interrupted; it ends with the program
	go func() {
		line, _ := bufio.NewReader(d.In).ReadString('\n')
		answer <- strings.ToLower(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(d.Out)
		return ctx.Err()
	case line := <-answer:
		switch strings.TrimSpace(line) {
		case "y", "yes":
			return nil
		}
		if line == "" {
			return nobody
		}
		return errors.New("as you say: nothing was made in your cluster")
	}
}

// interactive is false for pipes and files.
func interactive(in io.Reader) bool {
	file, ok := in.(*os.File)
	if !ok {
		return in != nil
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// makeNamespace reports whether there may be one now: an API server that answered no made none, one that did not answer may have.
func (c *target) makeNamespace(ctx context.Context) (made bool, err error) {
	namespace := &core.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}
	if _, err = c.client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err == nil {
		return true, nil
	}
	var refused apierrors.APIStatus
	no := errors.As(err, &refused) && refused.Status().Code < http.StatusInternalServerError
	return !no, fmt.Errorf("make the namespace %s: %w", c.namespace, err)
}

// prepare makes what the chart would: the exporter's account and its few rights; and the account of a workload.
func (c *target) prepare(ctx context.Context) error {
	client, ns := c.client, c.namespace
	meta := metav1.ObjectMeta{Name: account, Namespace: ns}
	create := metav1.CreateOptions{}
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

func (d *demo) remove(ctx context.Context, c *target) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err := c.client.CoreV1().Namespaces().Delete(ctx, c.namespace, metav1.DeleteOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("remove the namespace yourself, with kubectl delete namespace %s: %w", c.namespace, err)
	}
	d.say("The namespace %s is being removed.", c.namespace)
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

func (d *demo) showCluster(ctx context.Context, c *target) error {
	if err := d.choosePort(ctx); err != nil {
		return err
	}
	d.serviceAccount = c.namespace + "/" + account
	if err := d.startPublisher(ctx, c.keys); err != nil {
		return err
	}
	d.say("A publisher for it is up on this machine, at %s. It knows the keys from an enrollment, and publishes them already.", d.publisher)
	d.token = func(ctx context.Context) (string, error) { return c.mint(ctx, account, nil) }
	if err := d.startExporter(ctx, c.address, c.serverName, []string{c.address}); err != nil {
		return err
	}
	d.say("The exporter read the keys. Your API server vouched for its snapshot; the publisher checked all of it and accepted.")
	workload, err := c.mint(ctx, "payments", []string{audience})
	if err != nil {
		return err
	}
	if err := d.verify(ctx, workload); err != nil {
		return err
	}
	d.say("A token of the service account %s/payments: ACCEPTED by an independent verifier. As your issuer URL leads elsewhere, it was given "+
		"this publisher's keys and your issuer; a cloud finds both by the URL.", c.namespace)
	if err := d.attack(ctx); err != nil {
		return err
	}
	d.say("Nothing was rotated: your workloads depend on your keys, and to change them your API servers must be restarted.")
	return d.finish(ctx, "bin/kube-iam-assume enroll my-cluster > clusters/my-cluster.yaml")
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
	if strings.Trim(u.Path, "/") != "" {
		return "", "", fmt.Errorf("the API server's URL %q has a path, so a proxy is in between: use a kubeconfig that leads to the API server itself", config.Host)
	}
	if len(config.CAData) == 0 {
		return "", "", errors.New("it has no certificate authority (certificate-authority-data), without which the exporter trusts no API server")
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

func (c *target) mint(ctx context.Context, name string, audiences []string) (string, error) {
	seconds := int64(tokenLife.Seconds())
	answer, err := c.client.CoreV1().ServiceAccounts(c.namespace).CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("get a token of %s/%s: %w", c.namespace, name, err)
	}
	return answer.Status.Token, nil
}
