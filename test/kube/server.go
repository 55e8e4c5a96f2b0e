package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// A Server is one API server. What starts and stops it may not be called twice at once; two servers are independent.
type Server struct {
	cluster *Cluster
	number  int // from one
	folder  string
	config  Config
	process *process.Process
	client  kubernetes.Interface // the administrator's, see Cluster.Admin
}

// Address is the IP address the server says it is at, 198.51.100.N.
func (s *Server) Address() string { return "198.51.100." + strconv.Itoa(s.number) }

// Endpoint is the advertised host:port, which Cluster.Dial reaches.
func (s *Server) Endpoint() string {
	return net.JoinHostPort(s.Address(), strconv.Itoa(s.cluster.port))
}

// URL is where the server really listens.
func (s *Server) URL() string { return "https://" + s.listen() }

func (s *Server) listen() string { return net.JoinHostPort(s.host(), strconv.Itoa(s.cluster.port)) }

func (s *Server) host() string { return "127.0.0." + strconv.Itoa(s.number) }

func (s *Server) name() string { return "kube-apiserver " + strconv.Itoa(s.number) }

// Config is what the server was last started with.
func (s *Server) Config() Config { return s.config }

// Running says whether the server's process is there.
func (s *Server) Running() bool { return s.process.Running() }

// Start starts a stopped server and returns when it is ready.
func (s *Server) Start(t testing.TB, config Config) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := s.start(ctx, config); err != nil {
		t.Fatal(err)
	}
}

// Restart stops the server as an operator would, starts it with another configuration and returns when it is ready.
func (s *Server) Restart(t testing.TB, config Config) {
	t.Helper()
	s.Stop()
	s.Start(t, config)
}

// Stop ends the server with SIGTERM: it takes its address off the EndpointSlice and ends its connections. It returns when
// the process is gone.
func (s *Server) Stop() { s.process.Stop() }

// Kill ends the server with SIGKILL: its address stays in the EndpointSlice until its lease is over, up to 15 s.
func (s *Server) Kill() { s.process.Kill() }

func (s *Server) start(ctx context.Context, config Config) error {
	if s.Running() {
		return fmt.Errorf("%s is running; stop it first", s.name())
	}
	flags, err := s.flags(config)
	if err != nil {
		return err
	}
	s.process, err = process.Start(process.Program{
		Name: s.name(), Log: s.folder + ".log", Binary: s.cluster.programs.APIServer, Flags: flags,
	})
	if err != nil {
		return err
	}
	s.config = config
	if err := s.process.WaitUntil(ctx, "ready", s.ready); err != nil {
		return err
	}
	if err := s.checkVersion(); err != nil {
		return err
	}
	return s.waitUntilListed(ctx)
}

// checkVersion keeps a test from having been about another Kubernetes than its log says.
func (s *Server) checkVersion() error {
	says, err := s.client.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", s.name(), err)
	}
	if want := s.cluster.programs.Version; says.GitVersion != want {
		return fmt.Errorf("%s is Kubernetes %s, not %s: remove %s, to have it built again", s.name(), says.GitVersion, want, filepath.Dir(s.cluster.programs.APIServer))
	}
	return nil
}

// ready asks for what makes a server useful: its post-start hooks, among them the RBAC rules every cluster has.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
}

func (s *Server) flags(config Config) ([]string, error) {
	if (config.Keys.Sign == nil) == (config.Signer == nil) || len(config.Issuers) == 0 {
		return nil, errors.New("an API server needs an issuer, and either a signing key or an external signer")
	}
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of %s: %w", s.name(), err)
	}
	flags := []string{
		"--etcd-servers=" + s.cluster.etcdURL,
		"--bind-address=" + s.host(),
		"--secure-port=" + strconv.Itoa(s.cluster.port),
		"--advertise-address=" + s.Address(),
		"--endpoint-reconciler-type=lease", // lists every server, and drops a dead one
		"--cert-dir=" + s.folder,
		"--tls-cert-file=" + filepath.Join(s.cluster.folder, "apiserver.crt"),
		"--tls-private-key-file=" + filepath.Join(s.cluster.folder, "apiserver.key"),
		"--client-ca-file=" + s.cluster.CAFile,
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=Node,RBAC",
	}
	for _, issuer := range config.Issuers {
		flags = append(flags, "--service-account-issuer="+issuer)
	}
	if config.Signer != nil {
		return append(append(flags, signingFlag+"="+config.Signer.socket), config.Flags...), nil
	}
	keys, err := config.Keys.flags(s.folder)
	return append(append(flags, keys...), config.Flags...), err
}
