package gcp

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

const server = "fake-gcs-server"

// build builds the server, once for a test process.
var build = sync.OnceValues(func() (string, error) { return fromsource.GCP.Binaries(os.Stderr) })

// Project is whose buckets there are.
const Project = "kube-iam-assume-test"

const (
	startTimeout = time.Minute // 0.1 s on an idle machine
	healthPath   = "/_internal/healthcheck"
)

// A Storage is a server of Cloud Storage on a loopback address: plain HTTP, no login, its objects in memory.
type Storage struct {
	Endpoint string          // http://127.0.0.1:PORT
	Client   *storage.Client // repeats nothing that was refused

	running *process.Process
}

// StartStorage starts a server with no bucket in it. It ends with the test; if that failed, the end of its log is in the test's
// output.
func StartStorage(t testing.TB) *Storage {
	t.Helper()
	folder := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	started, err := RunStorage(ctx, folder)
	if err != nil {
		t.Fatalf("gcp.StartStorage: %v", err)
	}
	t.Cleanup(func() {
		started.Stop()
		if t.Failed() {
			t.Logf("the log of %s ends:\n%s", server, process.Tail(logOf(folder), 15))
		}
	})
	return started
}

// RunStorage starts a server outside of a test, with its log in a folder. It ends with Stop, and with this process.
func RunStorage(ctx context.Context, folder string) (*Storage, error) {
	binaries, err := build()
	if err != nil {
		return nil, err
	}
	port, err := process.FreePort("127.0.0.1")
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	s := &Storage{Endpoint: "http://" + address}
	s.running, err = process.Start(process.Program{Name: server, Binary: filepath.Join(binaries, server), Log: logOf(folder), Flags: []string{
		"-backend=memory", "-scheme=http", "-host=127.0.0.1", fmt.Sprintf("-port=%d", port),
		"-public-host=" + address, "-external-url=" + s.Endpoint, "-log-level=warn",
	}})
	if err != nil {
		return nil, err
	}
	if err := s.running.WaitUntil(ctx, "ready", s.healthy); err != nil {
		s.Stop()
		return nil, err
	}
	s.Client, err = storage.NewClient(ctx, option.WithEndpoint(s.Endpoint+"/storage/v1/"), option.WithoutAuthentication(), storage.WithJSONReads())
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func logOf(folder string) string { return filepath.Join(folder, server+".log") }

// Stop ends the server; nobody needs its objects again.
func (s *Storage) Stop() {
	if s.Client != nil {
		_ = s.Client.Close() // closes idle connections
	}
	s.running.Kill()
}

func (s *Storage) healthy(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint+healthPath, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", healthPath, response.Status)
	}
	return nil
}

// Environment has the SDK's own variable, by which another process finds the server and needs no credentials.
func (s *Storage) Environment() []string { return []string{"STORAGE_EMULATOR_HOST=" + s.Endpoint} }

// CreateBucket makes a bucket as it should be: with uniform access, and with or without keeping the versions of its objects.
func (s *Storage) CreateBucket(t testing.TB, name string, versioned bool) {
	t.Helper()
	if err := s.MakeBucket(t.Context(), name, versioned); err != nil {
		t.Fatal(err)
	}
}

// MakeBucket is CreateBucket outside of a test.
func (s *Storage) MakeBucket(ctx context.Context, name string, versioned bool) error {
	err := s.Client.Bucket(name).Create(ctx, Project, &storage.BucketAttrs{
		VersioningEnabled:        versioned,
		UniformBucketLevelAccess: storage.UniformBucketLevelAccess{Enabled: true},
	})
	if err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	return nil
}
