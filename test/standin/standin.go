// Package standin is a stand-in for a Kubernetes control plane: API servers with the few endpoints that the exporter uses, with real
// keys, real tokens and real TLS, where a real one would be too slow to start. What real API servers do is proven in test/kube; this
// copies what was seen there.
//
// The API servers of a Cluster share what is stored (Events) and each has keys and an issuer of its own, as flags are. They listen on
// 127.0.0.1, 127.0.0.2, … (one alone works on every system) and may be listed under other addresses, which Cluster.Dial leads back.
package standin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
)

// ServiceAddress is the address pods have for the API servers. Through Cluster.Dial it leads to another running one each time.
const ServiceAddress = "10.96.0.1:443"

// ErrNoServer means that no API server runs.
var ErrNoServer = errors.New("no API server is running")

// Options is what a control plane is started with.
type Options struct {
	Issuer  string           // the first --service-account-issuer of each
	Servers int              // how many; default 1
	Sign    *Key             // what each signs with
	Verify  []*Key           // what each lists and accepts; default Sign
	Now     func() time.Time // for tokens; default time.Now

	// AdvertisePrefix makes the n-th be listed under this prefix and n, "198.51.100." for example, for real API servers refuse to
	// advertise a loopback address. Default: where they listen.
	AdvertisePrefix string
}

// Cluster is a control plane.
type Cluster struct {
	Servers []*Server
	CA      []byte // PEM of the authority of the serving certificates

	now         func() time.Time
	certificate tls.Certificate
	port        int

	mu     sync.Mutex
	next   int
	events []core.Event
}

// Start makes an authority and serves. All API servers have one port.
func Start(o Options) (*Cluster, error) {
	if o.Sign == nil {
		return nil, errors.New("standin: no key to sign with")
	}
	c := &Cluster{now: o.Now}
	if c.now == nil {
		c.now = time.Now
	}
	if len(o.Verify) == 0 {
		o.Verify = []*Key{o.Sign}
	}
	var err error
	if c.CA, c.certificate, err = newCertificate(); err != nil {
		return nil, err
	}
	for try := 0; try < 10; try++ { // the port may be taken at another of the addresses
		if err = c.start(o); err == nil {
			return c, nil
		}
		c.Close()
	}
	return nil, err
}

func (c *Cluster) start(o Options) error {
	c.Servers, c.port = nil, 0
	for i := range max(o.Servers, 1) {
		host := "127.0.0." + strconv.Itoa(i+1)
		advertised := host
		if o.AdvertisePrefix != "" {
			advertised = o.AdvertisePrefix + strconv.Itoa(i+1)
		}
		s := &Server{cluster: c, host: host, advertised: advertised, issuer: o.Issuer, sign: o.Sign, verify: o.Verify}
		if err := s.Start(); err != nil {
			return err
		}
		c.Servers = append(c.Servers, s)
	}
	return nil
}

// Close ends every API server.
func (c *Cluster) Close() {
	for _, s := range c.Servers {
		s.Stop()
	}
}

// SetKeys restarts every API server with other key flags: the key to sign with, and those to list and accept (default: that one).
func (c *Cluster) SetKeys(sign *Key, verify ...*Key) {
	for _, s := range c.Servers {
		s.SetKeys(sign, verify...)
	}
}

// Events are the Events that were created so far.
func (c *Cluster) Events() []core.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]core.Event(nil), c.events...)
}

// Dial connects to an advertised address, to ServiceAddress, or to any other address as it is. It fits http.Transport.DialContext.
func (c *Cluster) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == ServiceAddress {
		s, err := c.anyServer()
		if err != nil {
			return nil, err
		}
		address = s.Address()
	}
	for _, s := range c.Servers {
		if address == s.Advertised() {
			address = s.Address()
		}
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

func (c *Cluster) anyServer() (*Server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range c.Servers {
		c.next++
		if s := c.Servers[c.next%len(c.Servers)]; s.Running() {
			return s, nil
		}
	}
	return nil, ErrNoServer
}

func (c *Cluster) addEvent(e core.Event) core.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Name == "" {
		e.Name = fmt.Sprintf("%s%05d", e.GenerateName, len(c.events))
	}
	c.events = append(c.events, e)
	return e
}
