package standin

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Server is one API server. It is safe for concurrent use.
type Server struct {
	cluster    *Cluster
	host       string
	advertised string

	mu        sync.Mutex
	issuer    string
	sign      *Key
	verify    []*Key
	http      *http.Server // nil while it does not run
	listed    bool
	intercept func(http.ResponseWriter, *http.Request) bool
}

// Start serves, and lists it among the API servers.
func (s *Server) Start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(s.host, strconv.Itoa(s.cluster.port)))
	if err != nil {
		return fmt.Errorf("standin: %w", err)
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); ok && s.cluster.port == 0 {
		s.cluster.port = tcp.Port // the first server's, before anybody else knows the cluster
	}
	s.listed = true
	s.http = &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		ErrorLog:  log.New(io.Discard, "", 0), // clients that give up are not its business
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cluster.certificate}, MinVersion: tls.VersionTLS12},
	}
	server := s.http
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return nil
}

// Stop ends it as a graceful stop does: its address is withdrawn.
func (s *Server) Stop() { s.end(false) }

// Kill ends it in the way of kill -9: it stays listed until its lease is over, which is when Stop is called.
func (s *Server) Kill() { s.end(true) }

func (s *Server) end(listed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed = listed
	if s.http != nil {
		_ = s.http.Close()
		s.http = nil
	}
}

// Running reports whether it serves.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.http != nil
}

// Address is where it listens, host:port.
func (s *Server) Address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.cluster.port)) }

// Advertised is the address that it is listed under, host:port.
func (s *Server) Advertised() string {
	return net.JoinHostPort(s.advertised, strconv.Itoa(s.cluster.port))
}

// SetKeys is a restart with other key flags: the key to sign with, and those to list and accept (default: that one). A key that signs and
// is not among those makes an API server that refuses its own tokens, as a real one does.
func (s *Server) SetKeys(sign *Key, verify ...*Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(verify) == 0 {
		verify = []*Key{sign}
	}
	s.sign, s.verify = sign, append([]*Key(nil), verify...)
}

// SetIssuer is a restart with another --service-account-issuer.
func (s *Server) SetIssuer(issuer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issuer = issuer
}

// Intercept sees every request first, for faults; it returns true if it answered. Nil ends it.
func (s *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// flags are what a real API server has from its command line.
type flags struct {
	issuer string
	sign   *Key
	verify []*Key
}

func (s *Server) flags() flags {
	s.mu.Lock()
	defer s.mu.Unlock()
	return flags{s.issuer, s.sign, s.verify}
}

func (s *Server) isListed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed
}
