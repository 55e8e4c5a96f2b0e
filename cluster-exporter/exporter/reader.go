package exporter

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// Reading is what all API servers said at one time.
type Reading struct {
	Began      time.Time
	Servers    []ServerReading // one per connection if they stand behind a virtual address
	ListErr    error           // why Servers may not be all there are
	APIServers snapshot.APIServers
	Keys       jwks.Set // the union over the servers that have the right issuer
}

// sameAs reports whether a publisher that knows one reading would learn nothing from the other.
func (r *Reading) sameAs(other *Reading) bool {
	return other != nil && r.APIServers == other.APIServers && bytes.Equal(r.Keys.Encode(), other.Keys.Encode())
}

// reader reads the API servers of a cluster. Only the loop of Exporter.Run uses it.
type reader struct {
	settings  Settings
	access    Access
	now       func() time.Time
	authority []byte
	servers   map[string]*apiServer // by address
	known     []string              // addresses of the last list
	window    *window               // nil unless the API servers stand behind a virtual address
}

func newReader(settings Settings, access Access, now func() time.Time) *reader {
	r := &reader{settings: settings, access: access, now: now, servers: map[string]*apiServer{}}
	if n := settings.APIServers.Expect; n > 0 {
		r.window = newWindow(n)
	}
	return r
}

// read asks every API server at once. The error means that nothing can be said: no API server is known, or two of them have one key ID
// for different keys.
func (r *reader) read(ctx context.Context) (*Reading, error) {
	reading := &Reading{Began: r.now()}
	if err := r.renewAuthority(); err != nil {
		return nil, err
	}
	addresses, err := r.list(ctx)
	if len(addresses) == 0 {
		return nil, err
	}
	reading.ListErr = err
	r.forgetOthers(addresses)
	reading.Servers = make([]ServerReading, len(addresses))
	var all sync.WaitGroup
	for i, address := range addresses {
		server, err := r.server(address)
		if err != nil {
			reading.Servers[i] = ServerReading{Address: address, Err: err}
			continue
		}
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, serverTimeout)
			defer cancel()
			reading.Servers[i] = server.read(ctx, r.now)
		})
	}
	all.Wait()
	return reading, r.unite(reading)
}

// unite makes the union and counts. A list that may not be complete counts as one more API server than it names.
func (r *reader) unite(reading *Reading) error {
	var sets []jwks.Set
	for _, s := range reading.Servers {
		if s.counts(r.settings.Issuer) {
			sets = append(sets, s.Keys)
		}
	}
	reading.APIServers = snapshot.APIServers{Listed: len(reading.Servers), Read: len(sets)}
	if reading.ListErr != nil {
		reading.APIServers.Listed++
	}
	if r.window != nil {
		sets, reading.APIServers = r.window.add(reading.Began, sets, len(sets) < len(reading.Servers))
	}
	var err error
	if reading.Keys, err = jwks.Union(sets...); err != nil {
		return fmt.Errorf("the API servers contradict each other: %w", err)
	}
	return nil
}

// renewAuthority reads the authority's file again: it changes when the cluster's authority is rotated.
func (r *reader) renewAuthority() error {
	authority, err := r.access.authority()
	switch {
	case err != nil && r.authority == nil:
		return err
	case err != nil || bytes.Equal(authority, r.authority):
		return nil //nolint:nilerr // a file that is being replaced; the authority of before goes on
	}
	r.authority = authority
	r.forgetOthers(nil)
	return nil
}

func (r *reader) server(address string) (*apiServer, error) {
	if s := r.servers[address]; s != nil {
		return s, nil
	}
	s, err := newAPIServer(address, r.access.client(r.authority, r.window != nil))
	if err == nil {
		r.servers[address] = s
	}
	return s, err
}

// forget drops the connections to an address.
func (r *reader) forget(address string) {
	if server := r.servers[address]; server != nil {
		server.http.CloseIdleConnections()
		delete(r.servers, address)
	}
}

// forgetOthers drops the connections of API servers that are gone.
func (r *reader) forgetOthers(addresses []string) {
	keep := map[string]bool{r.access.Address: len(addresses) > 0}
	for _, address := range addresses {
		keep[address] = true
	}
	for address := range r.servers {
		if !keep[address] {
			r.forget(address)
		}
	}
}
