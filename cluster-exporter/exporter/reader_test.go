package exporter

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/standin"
)

// TestTheListsConnectionIsForgotten: behind a virtual address is another API server for every connection, so that one which does not list is
// left for the next, while one that does is kept.
func TestTheListsConnectionIsForgotten(t *testing.T) {
	t.Parallel()
	key, err := standin.NewECKey()
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := standin.Start(standin.Options{Issuer: "https://oidc.example.com/prod", Servers: 2, Sign: key, AdvertisePrefix: "198.51.100."})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	token, err := cluster.Servers[0].PodToken("kube-iam-assume", "cluster-exporter", "exporter-0", nil, 600)
	if err != nil {
		t.Fatal(err)
	}
	folder, dialled := t.TempDir(), 0
	access := Access{
		Address: standin.ServiceAddress, CAFile: filepath.Join(folder, "ca.crt"), TokenFile: filepath.Join(folder, "token"), serverName: DefaultServerName,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == standin.ServiceAddress {
				dialled++ // the list is asked for before anything else
			}
			return cluster.Dial(ctx, network, address)
		},
	}
	for file, content := range map[string][]byte{access.CAFile: cluster.CA, access.TokenFile: []byte(token)} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(w http.ResponseWriter, r *http.Request) bool {
		refused := strings.Contains(r.URL.Path, "endpointslices")
		if refused {
			w.WriteHeader(http.StatusInternalServerError)
		}
		return refused
	}
	r := newReader(Settings{Issuer: "https://oidc.example.com/prod"}, access, time.Now)
	t.Cleanup(func() { r.forgetOthers(nil) })
	for step, want := range []struct {
		refused bool
		dialled int
	}{{false, 1}, {false, 1}, {true, 1}, {true, 2}, {false, 3}, {false, 3}} {
		for _, server := range cluster.Servers {
			server.Intercept(nil)
			if want.refused {
				server.Intercept(refuse)
			}
		}
		reading, err := r.read(t.Context())
		if err != nil || (reading.ListErr != nil) != want.refused || reading.APIServers.Read != 2 || dialled != want.dialled {
			t.Errorf("step %d: %+v, %v, dialled %d times, want %d", step, reading, err, dialled, want.dialled)
		}
	}
}
