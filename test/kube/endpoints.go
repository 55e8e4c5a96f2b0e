package kube

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	discovery "k8s.io/api/discovery/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// WaitForEndpoints waits until the `kubernetes` EndpointSlice lists exactly these servers, counted from zero. A killed one
// is listed for up to 15 s.
func (c *Cluster) WaitForEndpoints(t testing.TB, servers ...int) {
	t.Helper()
	var want []string
	for _, server := range servers {
		want = append(want, c.Servers[server].Endpoint())
	}
	slices.Sort(want)
	poll(t, time.Minute, func(ctx context.Context) error {
		got, err := listedEndpoints(ctx, c.anyone())
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("the EndpointSlice lists %v, not %v", got, want)
		}
		return err
	})
}

// waitUntilListed waits for the server's address in the EndpointSlice. Servers that start together may write the slice
// together; the loser tries again after 10 s only. Its lease is there by then, so what it would write is written for it.
func (s *Server) waitUntilListed(ctx context.Context) error {
	patience := time.Now().Add(time.Second)
	return s.process.WaitUntil(ctx, "listed", func(ctx context.Context) error {
		got, err := listedEndpoints(ctx, s.client)
		if err != nil || slices.Contains(got, s.Endpoint()) {
			return err
		}
		if time.Now().After(patience) {
			return s.list(ctx)
		}
		return fmt.Errorf("the EndpointSlice lists %v, not %s", got, s.Endpoint())
	})
}

// list adds the server's address to the EndpointSlice.
func (s *Server) list(ctx context.Context) error {
	listing := s.client.DiscoveryV1().EndpointSlices(meta.NamespaceDefault)
	slice, err := listing.Get(ctx, "kubernetes", meta.GetOptions{})
	if err != nil {
		return err
	}
	ready := true
	slice.Endpoints = append(slice.Endpoints, discovery.Endpoint{
		Addresses: []string{s.Address()}, Conditions: discovery.EndpointConditions{Ready: &ready},
	})
	_, err = listing.Update(ctx, slice, meta.UpdateOptions{}) // a conflict is another server that came first: try again
	return err
}

// listedEndpoints are the addresses in the `kubernetes` EndpointSlice, as host:port, sorted.
func listedEndpoints(ctx context.Context, client kubernetes.Interface) ([]string, error) {
	slice, err := client.DiscoveryV1().EndpointSlices(meta.NamespaceDefault).Get(ctx, "kubernetes", meta.GetOptions{})
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, endpoint := range slice.Endpoints {
		for _, port := range slice.Ports {
			for _, address := range endpoint.Addresses {
				addresses = append(addresses, hostPort(address, port))
			}
		}
	}
	slices.Sort(addresses)
	return addresses, nil
}

func hostPort(address string, port discovery.EndpointPort) string {
	if port.Port == nil {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(int(*port.Port)))
}

// poll repeats check until it succeeds, and fails the test with its last error if it never does.
func poll(t testing.TB, limit time.Duration, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	ticks := time.NewTicker(pollInterval)
	defer ticks.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %v", limit, err)
		case <-ticks.C:
		}
	}
}
