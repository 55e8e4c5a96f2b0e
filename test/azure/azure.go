// Package azure starts the parts of Azure that tests need: storage (Azurite, Microsoft's own emulator, as a process), and the endpoint at
// which App Service gives a function the tokens of its managed identity.
//
// Programs under test reach them as they reach the real ones, with nothing in them for tests: container and queue by URL, tokens by
// IDENTITY_ENDPOINT, and the servers' authority by SSL_CERT_FILE. Azurite reads such a token's times, issuer and audience; it knows no
// role assignments, so who may do what is not tested with it.
package azure

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const (
	host         = "127.0.0.1"
	startTimeout = 90 * time.Second // Node reads some thousand files, on machines that are busy
)

// A Storage is a storage account with blobs and queues, on a loopback address with TLS, which Azure's bearer tokens require.
type Storage struct {
	Account  string
	Key      string // the shared key, in base64; it may do everything
	BlobURL  string // of the blob service, with the account: https://127.0.0.1:PORT/ACCOUNT
	QueueURL string
	CAFile   string // the authority of the servers' certificate, as PEM
	Identity *Identity

	roots *x509.CertPool
	http  *http.Client
}

// StartStorage starts an account that is empty. It ends with the test; if that failed, the end of its log is in the test's output.
func StartStorage(t testing.TB) *Storage {
	t.Helper()
	storage, err := startStorage(t)
	if err != nil {
		t.Fatalf("azure.StartStorage: %v", err)
	}
	return storage
}

func startStorage(t testing.TB) (*Storage, error) {
	t.Helper()
	installed, err := install(os.Stderr)
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	folder, key := t.TempDir(), make([]byte, 64)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	s := &Storage{
		Account: "kubeiamassume", Key: base64.StdEncoding.EncodeToString(key), CAFile: filepath.Join(folder, "ca.crt"),
	}
	s.BlobURL = fmt.Sprintf("https://%s:%d/%s", host, ports[0], s.Account)
	s.QueueURL = fmt.Sprintf("https://%s:%d/%s", host, ports[1], s.Account)
	if err := s.trust(folder); err != nil {
		return nil, err
	}
	if s.Identity, err = StartIdentity(t); err != nil {
		return nil, err
	}
	return s, s.run(t, installed, folder, ports)
}

// run starts Azurite and waits until it answers.
func (s *Storage) run(t testing.TB, installed installation, folder string, ports []int) error {
	t.Helper()
	log := filepath.Join(folder, "azurite.log")
	server, err := process.Start(process.Program{
		Name: "azurite", Binary: installed.node, Log: log,
		Flags: []string{
			installed.azurite, "--inMemoryPersistence", "--silent", "--disableTelemetry",
			"--skipApiVersionCheck",                                       // it knows fewer versions than the SDK, which sends the newest
			"--blobKeepAliveTimeout=3600", "--queueKeepAliveTimeout=3600", // seconds: no connection is closed while it is being used
			"--oauth=basic", "--cert=" + filepath.Join(folder, certificateFile), "--key=" + filepath.Join(folder, keyFile),
			"--blobHost=" + host, fmt.Sprintf("--blobPort=%d", ports[0]),
			"--queueHost=" + host, fmt.Sprintf("--queuePort=%d", ports[1]),
			"--tableHost=" + host, fmt.Sprintf("--tablePort=%d", ports[2]),
		},
		Environment: []string{"HOME=" + folder, "AZURITE_ACCOUNTS=" + s.Account + ":" + s.Key},
	})
	if err != nil {
		return err
	}
	t.Cleanup(func() {
		server.Kill() // everything is in its memory
		if t.Failed() {
			t.Logf("the log of azurite ends:\n%s", process.Tail(log, 20))
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	return server.WaitUntil(ctx, "ready", func(ctx context.Context) error {
		return errors.Join(s.answers(ctx, s.BlobURL), s.answers(ctx, s.QueueURL))
	})
}

// answers takes any answer for a sign of life: a stranger is refused.
func (s *Storage) answers(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
	return err
}

// trust makes the servers' certificate, and the client that believes it.
func (s *Storage) trust(folder string) error {
	authority, err := writeCertificates(folder)
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.CAFile, authority, 0o600); err != nil {
		return fmt.Errorf("write the authority of azurite: %w", err)
	}
	s.roots = x509.NewCertPool()
	s.roots.AppendCertsFromPEM(authority)
	s.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 32,
	}}
	return nil
}

// Roots are the authorities of the servers' certificate.
func (s *Storage) Roots() *x509.CertPool { return s.roots }

// HTTPClient is a stranger's who believes the servers' certificate.
func (s *Storage) HTTPClient() *http.Client { return s.http }

// Environment is what the platform gives a function with the identity, and by which any program believes the servers' certificate.
func (s *Storage) Environment() []string {
	return append(s.Identity.Environment(), "SSL_CERT_FILE="+s.CAFile)
}

func freePorts(number int) ([]int, error) {
	ports := make([]int, number)
	for i := range ports {
		var err error
		if ports[i], err = process.FreePort(host); err != nil {
			return nil, err
		}
	}
	return ports, nil
}
