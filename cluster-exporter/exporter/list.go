package exporter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// listTimeout is for one try at a list; several API servers are asked if the first does not answer.
const listTimeout = 2 * time.Second

var errNoneListed = errors.New("the EndpointSlice of the service kubernetes is empty; name the API servers in apiServers.addresses")

// list finds the addresses of the API servers: those of the settings, the virtual one several times, or what the API servers say of
// themselves. If none of them says, the ones of before are returned together with the first's error.
func (r *reader) list(ctx context.Context) ([]string, error) {
	switch servers := r.settings.APIServers; {
	case len(servers.Addresses) > 0:
		return servers.Addresses, nil
	case servers.Expect > 0:
		return slices.Repeat([]string{r.access.Address}, connections*servers.Expect), nil
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	var failed error
	for _, address := range append([]string{r.access.Address}, r.known...) {
		addresses, err := r.listFrom(ctx, address)
		if err == nil {
			r.known = addresses
			return addresses, nil
		}
		r.forget(address) // behind a virtual address the next connection may lead to an API server that answers
		if failed == nil {
			failed = fmt.Errorf("list the API servers: %s: %w", address, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return r.known, failed
}

func (r *reader) listFrom(ctx context.Context, address string) ([]string, error) {
	server, err := r.server(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	list, err := server.discovery.EndpointSlices(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{
		LabelSelector: discovery.LabelServiceName + "=kubernetes", Limit: 100,
	})
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, slice := range list.Items {
		addresses = append(addresses, endpoints(slice)...)
	}
	slices.Sort(addresses)
	if addresses = slices.Compact(addresses); len(addresses) == 0 {
		return nil, errNoneListed
	}
	return addresses, nil
}

// endpoints are the ready addresses of a slice, each with the https port. A condition that is not set means ready.
func endpoints(slice discovery.EndpointSlice) []string {
	var addresses []string
	for _, port := range slice.Ports {
		if port.Port == nil || port.Name != nil && *port.Name != "https" {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if ready := endpoint.Conditions.Ready; ready != nil && !*ready {
				continue
			}
			for _, address := range endpoint.Addresses {
				addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*port.Port))))
			}
		}
	}
	return addresses
}
