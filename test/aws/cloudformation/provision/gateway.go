package provision

import (
	"context"
	"net"
	"net/http"
)

// newGateway reaches versitygw under whatever name it is asked for.
func newGateway(options Options) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, options.Gateway)
		},
		DisableCompression: true,
	}
}
