package chart_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
	"github.com/kube-iam-assume/kube-iam-assume/test/kube"
)

const (
	host     = "oidc.example.com"
	issuer   = "https://" + host + "/prod"
	service  = "198.51.100.100:443" // where the publisher's host leads
	audience = "sts.amazonaws.com"
	node     = "node-1"
	patience = time.Minute
)

// world is a cluster with both releases of the chart: real API servers, real Helm, real programs. Controllers, scheduler and kubelet are
// played by this test, which does as they do, as their own users.
type world struct {
	*testing.T
	cluster    *kube.Cluster
	folder     string
	kubeconfig string
	programs   map[string]string // by the name of the container
	authority  []byte
	publisher  *pod.Pod
	network    *network
	restarts   []restart
}

// newWorld builds what runs in it; begin starts it.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, folder: t.TempDir(), programs: map[string]string{}, network: newNetwork(t)}
	w.build("cluster-exporter", "cluster-exporter")
	w.build("publisher", "functions/standalone")
	w.build("kube-iam-assume", "cli")
	w.programs["check"] = w.programs["cluster-exporter"]
	return w
}

// begin starts API servers and installs both releases. The cluster is enrolled with the keys that it begins with.
func (w *world) begin(enrolled enrollment.Cluster, configs ...kube.Config) {
	w.Helper()
	w.cluster = kube.Start(w.T, kube.Options{Servers: configs})
	w.kubeconfig = w.cluster.Kubeconfig(w.T, 0)
	w.prepare("publisher")
	w.prepare(namespace)
	n := &core.Node{ObjectMeta: meta.ObjectMeta{Name: node}}
	if _, err := w.cluster.Admin(0).CoreV1().Nodes().Create(w.Context(), n, meta.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.cluster.CreateServiceAccount(w.T, "app", "payments")
	w.install(enrolled)
}

// enrolled is the cluster's file.
func enrolled(keys ...jwks.Key) enrollment.Cluster {
	return enrollment.Cluster{ID: "prod", Generation: 1, ExporterServiceAccount: namespace + "/" + account, BootstrapKeys: keys}
}

func (w *world) build(name, pkg string) {
	w.Helper()
	w.programs[name] = filepath.Join(w.folder, name)
	build := exec.CommandContext(w.Context(), "go", "build", "-trimpath", "-o", w.programs[name], "github.com/kube-iam-assume/kube-iam-assume/"+pkg)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		w.Fatalf("build %s: %v\n%s", name, err, out)
	}
}

// config is one of a hardened API server with its keys in files.
func (w *world) config(server int, sign *kube.Key, more ...*kube.Key) kube.Config {
	w.Helper()
	return kube.Config{Issuers: []string{issuer}, Keys: kube.Keys{Sign: sign, Verify: append([]*kube.Key{sign}, more...)}, Flags: w.hardened(server)}
}

// hardened are an API server's flags: no anonymous access, kubelets held to their own, a log of what the exporter does, and a way to pods.
func (w *world) hardened(server int) []string {
	w.Helper()
	policy := filepath.Join(w.folder, "audit.yaml")
	const rules = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": [
{"level": "Metadata", "users": ["system:serviceaccount:kube-iam-assume:cluster-exporter"]}, {"level": "None"}]}`
	if err := os.WriteFile(policy, []byte(rules), 0o600); err != nil {
		w.Fatal(err)
	}
	return []string{
		"--anonymous-auth=false", "--enable-admission-plugins=NodeRestriction", "--egress-selector-config-file=" + w.network.config,
		"--audit-policy-file=" + policy, "--audit-log-path=" + w.auditLog(server),
	}
}

func (w *world) auditLog(server int) string {
	return filepath.Join(w.folder, "audit-"+strconv.Itoa(server)+".log")
}

// prepare makes a namespace that refuses pods with rights, and what kube-controller-manager puts into each.
func (w *world) prepare(namespace string) {
	w.Helper()
	admin := w.cluster.Admin(0).CoreV1()
	space := &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}}
	if _, err := admin.Namespaces().Create(w.Context(), space, meta.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	authority := &core.ConfigMap{ObjectMeta: meta.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": string(w.cluster.CA)}}
	if _, err := admin.ConfigMaps(namespace).Create(w.Context(), authority, meta.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
	w.cluster.CreateServiceAccount(w.T, namespace, "default")
}

// install does what a person does: enroll, install the publisher, install the exporter.
func (w *world) install(cluster enrollment.Cluster) {
	w.Helper()
	file, authority := filepath.Join(w.folder, "prod.yaml"), filepath.Join(w.folder, "ca.pem")
	w.createCertificate("publisher", "oidc-example-com")
	for name, content := range map[string][]byte{file: cluster.Encode(), authority: w.authority} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			w.Fatal(err)
		}
	}
	w.helm("install", "publisher", folder, "--namespace", "publisher",
		"--set", "exporter.enabled=false,publisher.enabled=true,publisher.certificateSecret=oidc-example-com,publisher.settings.name=home",
		"--set", "publisher.settings.issuers[0].url="+issuer+",publisher.settings.issuers[0].clusters={prod},publisher.settings.issuers[0].internal=true",
		"--set-file", "publisher.clusters.prod="+file+",publisher.caBundle.pem="+authority)
	notes := w.helm("install", "exporter", folder, "--namespace", namespace,
		"--set", "cluster=prod,issuer="+issuer+",destinations[0].publisher=home,destinations[0].webhook.url=https://"+host+"/v1/snapshots",
		"--set", "pollInterval=1s,heartbeatInterval=10s,monitoring.rules=false", "--set-file", "caBundle.pem="+authority)
	if !strings.Contains(notes, "logs --selector app.kubernetes.io/name=cluster-exporter") {
		w.Errorf("the notes do not say what is next:\n%s", notes)
	}
}

func (w *world) helm(arguments ...string) string {
	w.Helper()
	return helm(w.T, append(arguments, "--kubeconfig", w.kubeconfig)...)
}

// createCertificate makes the publisher's, and the authority that destinations' certificates are of.
func (w *world) createCertificate(namespace, name string) {
	w.Helper()
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))
	w.authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	secret := &core.Secret{ObjectMeta: meta.ObjectMeta{Name: name}, Type: core.SecretTypeTLS, Data: map[string][]byte{
		core.TLSCertKey: w.authority, core.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}),
	}}
	if _, err := w.cluster.Admin(0).CoreV1().Secrets(namespace).Create(w.Context(), secret, meta.CreateOptions{}); err != nil {
		w.Fatal(err)
	}
}

// client reads the documents as the world does.
func (w *world) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(w.authority)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return w.publisher.Dial("https")(ctx) },
	}}
}

// published says whether the world is told a key.
func (w *world) published(ctx context.Context, id string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, issuer+"/openid/v1/jwks", http.NoBody)
	if err != nil {
		return err
	}
	response, err := w.client().Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body strings.Builder
	if err := response.Write(&body); err != nil {
		return err
	}
	if !strings.Contains(body.String(), `"`+id+`"`) {
		return fmt.Errorf("key %s is not in %s", id, body.String())
	}
	return nil
}

// eventually repeats a check until it succeeds.
func (w *world) eventually(check func(context.Context) error) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("not within %s: %v", patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// waitLog waits until a pod has written a line with all of these words.
func (w *world) waitLog(p *pod.Pod, words ...string) {
	w.Helper()
	w.eventually(func(context.Context) error {
		for line := range strings.SplitSeq(p.Output(w.T), "\n") {
			all := true
			for _, word := range words {
				all = all && strings.Contains(line, word)
			}
			if all {
				return nil
			}
		}
		if !p.Running() {
			w.Fatalf("pod %s has ended", p.Name)
		}
		return fmt.Errorf("pod %s has not written %q", p.Name, words)
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// pause is between two tries.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}
