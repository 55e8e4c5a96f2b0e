// Package vault runs a real HashiCorp Vault for tests: its development server, in memory, with one root token, on a loopback address. It is built from
// source the first time, which takes about eight minutes of CPU (`make vault` shows the progress). It is a tool of the tests: nothing of it is
// linked into anything of ours.
package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// build builds the server, once for a test process.
var build = sync.OnceValues(func() (string, error) { return fromsource.Vault.Binaries(os.Stderr) })

const startTimeout = 30 * time.Second

// A Server is a Vault in which nothing is set up.
type Server struct {
	Address string
	Token   string // root's
}

// Start starts a server, which ends with the test; if that failed, the end of its log is in the test's output.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := start(t)
	if err != nil {
		t.Fatalf("vault.Start: %v", err)
	}
	return s
}

func start(t testing.TB) (*Server, error) {
	t.Helper()
	binaries, err := build()
	if err != nil {
		return nil, err
	}
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s := &Server{Address: "http://" + address, Token: rand.Text()}
	folder := t.TempDir()
	log := filepath.Join(folder, "vault.log")
	p, err := process.Start(process.Program{
		Name: "vault", Binary: filepath.Join(binaries, "vault"), Log: log,
		Flags:       []string{"server", "-dev", "-dev-no-store-token", "-dev-listen-address=" + address},
		Environment: []string{"HOME=" + folder, "VAULT_DEV_ROOT_TOKEN_ID=" + s.Token}, // not a flag, which everybody on the machine could read
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("end of vault.log:\n%s", process.Tail(log, 30))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return s, p.WaitUntil(ctx, "ready", func(ctx context.Context) error {
		_, err := s.Call(ctx, http.MethodGet, "sys/health", s.Token, nil)
		return err
	})
}

// Call makes one request below /v1/, with a token or (with "") without, and returns the answer of a success.
func (s *Server) Call(ctx context.Context, method, path, token string, body any) (map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, s.Address+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	var out map[string]any
	if len(answer) > 0 {
		err = json.Unmarshal(answer, &out)
	}
	return out, err
}
