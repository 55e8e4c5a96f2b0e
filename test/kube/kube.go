// Package kube runs real Kubernetes API servers for tests: etcd and one to three kube-apiservers, each with its own signing
// keys, its own life, and the real rules about who may do what.
//
// A Cluster lives as long as the test it was started for; nothing it starts survives the test process, even a killed one
// (on Linux). Kubernetes refuses to list loopback addresses as its own, so server N listens on 127.0.0.N but says it is at
// 198.51.100.N, a documentation address; Cluster.Dial goes there. Systems other than Linux need 127.0.0.2 and 127.0.0.3
// configured before they can run more than one server.
//
// Which minor of Kubernetes runs says the environment variable KUBERNETES, see fromsource.ChosenKubernetes; a server of another
// version than that is an error.
//
// There are no nodes and no controllers: nothing runs pods or makes default service accounts. ProjectedToken stands in for
// the one thing of the kubelet that tests need.
package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// DefaultIssuer is the issuer of clusters whose Options name none.
const DefaultIssuer = "https://issuer.example.com/test"

const maxServers = 3

// Options say what to start. The zero value is one API server with a fresh P-256 key.
type Options struct {
	APIServers int      // one to three; 0 means one, or as many as Servers has
	Issuer     string   // of every server; empty means DefaultIssuer
	Keys       Keys     // of every server; empty means one fresh P-256 key
	Flags      []string // further flags of every server, such as "--service-account-max-token-expiration=24h"
	Servers    []Config // instead of Issuer, Keys and Flags, where the servers differ: one each
}

// Config is what one API server is started with.
type Config struct {
	Keys    Keys
	Signer  *Signer  // instead of Keys: it signs, and says what is published
	Issuers []string // the first is written into tokens and discovery, the others are only accepted
	Flags   []string // come last, so they win over what the harness sets
}

// Keys are the service account keys of one API server. A server that signs with a key it does not verify is a mistake
// Kubernetes lets people make: such a server refuses its own tokens.
type Keys struct {
	Sign   *Key
	Verify []*Key // published, in this order; empty means just Sign
}

// A Cluster is one etcd and its API servers. Its methods may be used from several goroutines.
type Cluster struct {
	Servers []*Server
	CA      []byte // PEM: the authority of the servers' and of client certificates
	CAFile  string

	programs fromsource.Programs
	folder   string
	port     int // of every API server: the addresses of an EndpointSlice share their ports
	etcd     *process.Process
	etcdURL  string
	admin    credential
	turn     atomic.Uint32 // which server the Service address leads to next
}

var build = sync.OnceValues(func() (fromsource.Programs, error) {
	release, err := fromsource.ChosenKubernetes()
	if err != nil {
		return fromsource.Programs{}, err
	}
	return release.Programs(os.Stderr)
})

// Binaries returns the folder with the newest kube-apiserver and etcd, and builds them the first time, which takes minutes; see
// fromsource.Set.
func Binaries(progress io.Writer) (string, error) { return fromsource.Kubernetes.Binaries(progress) }

// Start starts a cluster and returns when every API server is ready and listed in the `kubernetes` EndpointSlice. It ends
// with the test; if that failed, the ends of the logs are in the test's output.
func Start(t testing.TB, options Options) *Cluster {
	t.Helper()
	configs := options.configs(t)
	programs, err := build()
	if err != nil {
		t.Fatalf("kube.Start: %v", err)
	}
	t.Logf("Kubernetes %s", programs.Version) // Server.start holds the servers to it
	c := &Cluster{programs: programs, folder: t.TempDir()}
	t.Cleanup(func() { c.end(t) }) // after TempDir, so that it comes before the folder's removal
	if err := c.start(t.Context(), configs); err != nil {
		t.Fatalf("kube.Start: %v", err)
	}
	return c
}

// Check says why the options cannot be; Start fails for the same reasons.
func (o Options) Check() error {
	count := max(o.APIServers, len(o.Servers))
	differ := len(o.Servers) > 0
	switch {
	case count > maxServers:
		return fmt.Errorf("%d API servers asked for, at most %d can be run", count, maxServers)
	case differ && len(o.Servers) != count:
		return fmt.Errorf("%d API servers asked for, but Servers has %d: give one Config for each", count, len(o.Servers))
	case differ && (o.Issuer != "" || o.Keys.Sign != nil || len(o.Flags) > 0):
		return errors.New("with Servers, leave Issuer, Keys and Flags empty: each Config has its own")
	case o.Keys.Sign == nil && len(o.Keys.Verify) > 0:
		return errors.New("Keys has keys to verify with, but none to sign with")
	}
	return nil
}

// configs are what to start each server with.
func (o Options) configs(t testing.TB) []Config {
	t.Helper()
	if err := o.Check(); err != nil {
		t.Fatalf("kube.Options: %v", err)
	}
	if len(o.Servers) > 0 {
		return slices.Clone(o.Servers)
	}
	if o.Issuer == "" {
		o.Issuer = DefaultIssuer
	}
	if o.Keys.Sign == nil {
		o.Keys.Sign = NewKey(t, P256)
	}
	same := Config{Keys: o.Keys, Issuers: []string{o.Issuer}, Flags: o.Flags}
	return slices.Repeat([]Config{same}, max(o.APIServers, 1))
}

func (c *Cluster) start(ctx context.Context, configs []Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.writeCertificates(); err != nil {
		return err
	}
	if err := c.startEtcd(ctx); err != nil {
		return err
	}
	if err := c.addServers(len(configs)); err != nil {
		return err
	}
	group, starting := errgroup.WithContext(ctx)
	for i, config := range configs {
		group.Go(func() error { return c.Servers[i].start(starting, config) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.waitForNamespaces(ctx)
}

// addServers names the servers, which are not running yet, and finds them a port.
func (c *Cluster) addServers(count int) error {
	var hosts []string
	for number := 1; number <= count; number++ {
		s := &Server{cluster: c, number: number, folder: filepath.Join(c.folder, "apiserver-"+strconv.Itoa(number))}
		c.Servers = append(c.Servers, s)
		hosts = append(hosts, s.host())
	}
	var err error
	if c.port, err = process.FreePort(hosts...); err != nil {
		return err
	}
	for i, s := range c.Servers {
		if s.client, err = kubernetes.NewForConfig(c.AdminConfig(i)); err != nil {
			return fmt.Errorf("make the client of %s: %w", s.name(), err)
		}
	}
	return nil
}

// Version is what every API server says it is, such as v1.36.3.
func (c *Cluster) Version() string { return c.programs.Version }

// Endpoints are the advertised addresses of all API servers, running or not, as host:port, for Dial.
func (c *Cluster) Endpoints() []string {
	var endpoints []string
	for _, s := range c.Servers {
		endpoints = append(endpoints, s.Endpoint())
	}
	return endpoints
}

// end stops everything at once; nobody needs the data again.
func (c *Cluster) end(t testing.TB) {
	t.Helper()
	for _, s := range c.Servers {
		s.process.Kill()
	}
	c.etcd.Kill()
	if !t.Failed() {
		return
	}
	logs, err := filepath.Glob(filepath.Join(c.folder, "*.log"))
	if err != nil {
		t.Errorf("find the cluster's logs: %v", err)
	}
	for _, log := range logs {
		t.Logf("end of %s:\n%s", filepath.Base(log), process.Tail(log, 15))
	}
}

const (
	startTimeout = 2 * time.Minute // 3 s on an idle machine; several clusters and compilers may share it
	stopTimeout  = 15 * time.Second
	pollInterval = 20 * time.Millisecond
)
