package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Reading is what all API servers said at one time.
type Reading struct {
	Began      time.Time
	Servers    []ServerReading
	APIServers snapshot.APIServers
	Keys       jwks.Set // the union over the servers that have the right issuer
}

// sameAs reports whether a publisher that knows one reading would learn nothing from the other.
func (r *Reading) sameAs(other *Reading) bool {
	return other != nil && r.APIServers == other.APIServers && bytes.Equal(r.Keys.Encode(), other.Keys.Encode())
}

// reader reads the API servers of a cluster.
type reader struct {
	settings Settings
	access   Access
	now      func() time.Time
	started  time.Time

	mu      sync.Mutex
	servers map[string]*apiServer
	seen    map[string]seenKey // behind a virtual address: SPKI → key
}

type seenKey struct {
	jwks.Key
	at time.Time
}

// window is how long everything seen behind a virtual address counts, because nobody knows which API server answered.
const window = 10 * time.Minute

func newReader(settings Settings, access Access, now func() time.Time) *reader {
	access.ServerName = settings.APIServers.ServerName
	return &reader{settings: settings, access: access, now: now, started: now(), servers: map[string]*apiServer{}, seen: map[string]seenKey{}}
}

// read asks every API server at once. The error means that none of them is known.
func (r *reader) read(ctx context.Context) (*Reading, error) {
	reading := &Reading{Began: r.now()}
	addresses, err := r.addresses(ctx)
	if err != nil {
		return nil, err
	}
	reading.Servers = make([]ServerReading, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		all.Go(func() { reading.Servers[i] = r.readServer(ctx, address) })
	}
	all.Wait()
	var sets []jwks.Set
	for _, s := range reading.Servers {
		if s.Err == nil && s.Issuer == r.settings.Issuer {
			sets = append(sets, s.Keys)
		}
	}
	reading.APIServers = snapshot.APIServers{Listed: len(addresses), Read: len(sets)}
	if r.settings.APIServers.Expect > 0 {
		sets = r.overWindow(reading, sets)
	}
	reading.Keys, err = jwks.Union(sets...)
	return reading, err
}

// overWindow is the union of everything seen lately. It speaks for all API servers only after a whole window of looking.
func (r *reader) overWindow(reading *Reading, sets []jwks.Set) []jwks.Set {
	if len(sets) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, key := range slices.Concat(sets...) {
		r.seen[key.SPKI()] = seenKey{key, reading.Began}
	}
	var lately jwks.Set
	for id, key := range r.seen {
		if reading.Began.Sub(key.at) > window {
			delete(r.seen, id)
			continue
		}
		lately = append(lately, key.Key)
	}
	n := r.settings.APIServers.Expect
	reading.APIServers = snapshot.APIServers{Listed: n + 1, Read: n} // additive
	if reading.Began.Sub(r.started) >= window {
		reading.APIServers = snapshot.APIServers{Listed: n, Read: n}
	}
	return []jwks.Set{lately}
}

func (r *reader) readServer(ctx context.Context, address string) ServerReading {
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	server, err := r.server(address)
	if err != nil {
		return ServerReading{Address: address, Err: err}
	}
	return server.read(ctx, r.now)
}

func (r *reader) server(address string) (*apiServer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.servers[address]; s != nil {
		return s, nil
	}
	s, err := r.access.server(address, r.settings.APIServers.Expect > 0)
	if err == nil {
		r.servers[address] = s
	}
	return s, err
}

// addresses are those of the settings, the virtual one several times, or what the API servers say of themselves.
func (r *reader) addresses(ctx context.Context) ([]string, error) {
	switch {
	case len(r.settings.APIServers.Addresses) > 0:
		return r.settings.APIServers.Addresses, nil
	case r.settings.APIServers.Expect > 0:
		return slices.Repeat([]string{r.access.Address}, 2*r.settings.APIServers.Expect), nil
	}
	server, err := r.server(r.access.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	slicesOf, err := server.client.DiscoveryV1().EndpointSlices("default").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=kubernetes", Limit: 100})
	if err != nil {
		return nil, fmt.Errorf("list the API servers: %w", err)
	}
	var addresses []string
	for _, slice := range slicesOf.Items {
		for _, port := range slice.Ports {
			for _, endpoint := range slice.Endpoints {
				if port.Port == nil || port.Name != nil && *port.Name != "https" || endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready {
					continue
				}
				for _, address := range endpoint.Addresses {
					addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
				}
			}
		}
	}
	slices.Sort(addresses)
	if addresses = slices.Compact(addresses); len(addresses) == 0 {
		return nil, errors.New("list the API servers: the EndpointSlice of the service kubernetes is empty; name them in apiServers.addresses")
	}
	return addresses, nil
}
