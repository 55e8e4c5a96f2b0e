// Package apiserver reads a cluster's API servers one by one through a person's kubeconfig, as flags and keys are each one's own.
//
// It goes to the addresses that the API servers list of themselves, with the kubeconfig's credentials and authority. Where those can't
// be reached from here, it takes several fresh connections to the kubeconfig's address, which a load balancer may lead to different API
// servers; then nobody knows which of them said what.
package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

const (
	timeout = 5 * time.Second

	// connections to one address are enough that a balancer over three API servers very likely shows all of them.
	connections = 9

	// serverName is in the certificate of every API server, whatever its address.
	serverName = "kubernetes.default.svc"
)

// ErrNoKubeconfig means that there is no cluster to read.
var ErrNoKubeconfig = errors.New("no kubeconfig")

// Load reads a kubeconfig as kubectl does. The error is ErrNoKubeconfig if there is none, or it is empty.
func Load(file, context string) (*rest.Config, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: file, Precedence: clientcmd.NewDefaultClientConfigLoadingRules().Precedence},
		&clientcmd.ConfigOverrides{CurrentContext: context}).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, fmt.Errorf("%w: set KUBECONFIG or give --kubeconfig", ErrNoKubeconfig)
	case err != nil:
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	return config, nil
}

// Cluster is a control plane as a kubeconfig reaches it.
type Cluster struct {
	Client kubernetes.Interface // to the kubeconfig's address
	Listed []string             // what the API servers list of themselves, host:port

	config  *rest.Config
	servers []*server // what is read: each of Listed, or the kubeconfig's address several times
	virtual bool
	reached bool // one of Listed answered, so that each can be
}

// server is one API server, or whichever an address leads to. Every request has a connection of its own.
type server struct {
	address string
	base    string // its URL
	http    *http.Client
	client  kubernetes.Interface
}

// Open lists the API servers.
func Open(ctx context.Context, config *rest.Config) (*Cluster, error) {
	c := &Cluster{config: config}
	entry, err := newServer(config, "", "")
	if err != nil {
		return nil, err
	}
	c.Client = entry.client
	return c, c.Relist(ctx)
}

// Relist lists the API servers anew. They come and go, and go on being read at their own addresses or through the kubeconfig's, as before.
func (c *Cluster) Relist(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	list, err := c.Client.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		LabelSelector: discovery.LabelServiceName + "=kubernetes", Limit: 100,
	})
	if err != nil {
		return err
	}
	before := c.Listed
	c.Listed = nil
	for _, slice := range list.Items {
		c.Listed = append(c.Listed, addresses(slice)...)
	}
	slices.Sort(c.Listed)
	c.Listed = slices.Compact(c.Listed)
	if !c.virtual && !slices.Equal(before, c.Listed) {
		c.servers = nil
	}
	return nil
}

// addresses are the ready ones of a slice, each with the https port. A condition that is not set means ready.
func addresses(slice discovery.EndpointSlice) []string {
	var all []string
	for _, port := range slice.Ports {
		if port.Port == nil || port.Name != nil && *port.Name != "https" {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, address := range endpoint.Addresses {
				all = append(all, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return all
}

// Read asks every API server for what it publishes. It goes on with the kubeconfig's address if none of the listed ones can be reached.
// direct says that each reading is of the API server that its address names.
func (c *Cluster) Read(ctx context.Context) (readings []Reading, direct bool, err error) {
	if c.servers == nil {
		if err := c.choose(); err != nil {
			return nil, false, err
		}
	}
	readings = readAll(ctx, c.servers)
	c.reached = c.reached || !c.virtual && slices.ContainsFunc(readings, func(r Reading) bool { return r.Reached })
	if c.virtual || c.reached {
		return readings, !c.virtual, nil
	}
	if err := c.chooseVirtual(); err != nil {
		return nil, false, err
	}
	return readAll(ctx, c.servers), false, nil
}

func (c *Cluster) choose() error {
	for _, address := range c.Listed {
		s, err := newServer(c.config, address, serverName)
		if err != nil {
			return err
		}
		c.servers = append(c.servers, s)
	}
	if len(c.servers) == 0 {
		return c.chooseVirtual()
	}
	return nil
}

func (c *Cluster) chooseVirtual() error {
	s, err := newServer(c.config, "", "")
	c.servers, c.virtual = slices.Repeat([]*server{s}, connections), true
	return err
}

func readAll(ctx context.Context, servers []*server) []Reading {
	readings := make([]Reading, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { readings[i] = s.read(ctx) })
	}
	all.Wait()
	return readings
}

// newServer reaches an address, or the kubeconfig's own. It makes its transport itself: client-go's are shared, and so are their connections.
func newServer(config *rest.Config, address, name string) (*server, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // it polls, which is limit enough
	if address != "" {
		config.Host, config.APIPath, config.ServerName = "https://"+address, "", name
		config.Proxy = nil
	}
	config.ContentType = "application/json"
	wanted, err := config.TransportConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	secure, err := transport.TLSConfigFor(wanted)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if secure == nil {
		secure = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dial := config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: timeout}).DialContext
	}
	proxy := config.Proxy
	if proxy == nil && address == "" {
		proxy = http.ProxyFromEnvironment
	}
	wrapped, err := transport.HTTPWrappersForConfig(wanted, &http.Transport{
		TLSClientConfig: secure, DialContext: dial, Proxy: proxy, DisableKeepAlives: true,
		TLSHandshakeTimeout: timeout, MaxResponseHeaderBytes: 64 << 10,
	})
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	s := &server{address: address, http: &http.Client{
		Transport: wrapped, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the credentials are for nobody else
	}}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	if s.base = base.String(); address == "" {
		s.address = base.Host
	}
	s.client, err = kubernetes.NewForConfigAndClient(config, s.http)
	return s, err
}
