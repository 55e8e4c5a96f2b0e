package aws

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/names"
)

// A network is what Main made around this process.
type network struct {
	authority *authority
	names     *names.Names

	mu   sync.Mutex
	last netip.Addr // the one given last
	used map[netip.Addr]bool
}

// inside is nil in a process that Main has not run again.
var inside *network

// Main runs a package's tests in a network of their own, and ends the process. Before that it builds the stand-in, and calls
// each of prepare outside, where the network is the machine's: what a test needs of it must be fetched there.
func Main(m *testing.M, prepare ...func(progress io.Writer) error) {
	code, err := run(m, prepare)
	if err != nil {
		fmt.Fprintf(os.Stderr, "aws.Main: %v\n", err)
		code = 1
	}
	os.Exit(code) //nolint:revive // deep-exit: it is all of TestMain
}

// run returns the process' exit code.
func run(m *testing.M, prepare []func(io.Writer) error) (int, error) {
	folder, found := os.LookupEnv(folderVariable)
	if !found {
		return outside(prepare)
	}
	var err error
	if inside, err = enter(folder); err != nil {
		return 0, fmt.Errorf("make a network for the tests: %w", explain(err))
	}
	return m.Run(), nil
}

// outside returns how the process inside ended.
func outside(prepare []func(io.Writer) error) (code int, err error) {
	if _, err := build(); err != nil {
		return 0, err
	}
	for _, step := range prepare {
		if err := step(os.Stderr); err != nil {
			return 0, err
		}
	}
	folder, err := os.MkdirTemp("", "kube-iam-assume-aws-")
	if err != nil {
		return 0, fmt.Errorf("make a folder for the tests' network: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	return runInside(folder)
}

// newNetwork makes what every program in the network reads: the authority to trust, and whom to ask for names.
func newNetwork(folder string) (*network, error) {
	made := &network{names: names.New(), last: firstAddress, used: map[netip.Addr]bool{}}
	var err error
	if made.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, authorityFile), made.authority.certificate, 0o600); err != nil {
		return nil, fmt.Errorf("write the authority's certificate: %w", err)
	}
	return made, made.names.Serve(nameServer)
}

// The addresses are of TEST-NET-3 (RFC 5737), which leads nowhere. STS refuses to fetch keys from loopback and private ones.
var (
	firstAddress = netip.MustParseAddr("203.0.113.1")
	lastAddress  = netip.MustParseAddr("203.0.113.254")
)

const (
	addresses  = 254
	nameServer = "127.0.0.1:53"
)

// lead makes names lead to an address that no other server has, so that all can be at port 443. It ends with the test.
func (n *network) lead(t testing.TB, all ...string) (string, error) {
	t.Helper()
	address, err := n.take()
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { n.release(address) })
	remove, err := n.names.Add(address, all...)
	if err != nil {
		return "", err
	}
	t.Cleanup(remove)
	return net.JoinHostPort(address.String(), "443"), nil
}

// take goes round, so that no connection to an address' last server is left when it has its next.
func (n *network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range addresses {
		if n.last = n.last.Next(); lastAddress.Less(n.last) {
			n.last = firstAddress
		}
		if !n.used[n.last] {
			n.used[n.last] = true
			return n.last, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("all addresses from %s to %s are in use: end some servers", firstAddress, lastAddress)
}

func (n *network) release(address netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, address)
}
