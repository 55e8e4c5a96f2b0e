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
	last netip.Addr // given to a server
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
	made := &network{names: names.New(), last: firstAddress}
	var err error
	if made.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, authorityFile), made.authority.certificate, 0o600); err != nil {
		return nil, fmt.Errorf("write the authority's certificate: %w", err)
	}
	return made, made.names.Serve(nameServer)
}

// firstAddress is of TEST-NET-3 (RFC 5737), which leads nowhere. STS refuses to fetch keys from loopback and private addresses.
var firstAddress = netip.MustParseAddr("203.0.113.10")

const nameServer = "127.0.0.1:53"

// address gives a server one of its own, so that all of them can be at port 443.
func (n *network) address() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = n.last.Next()
	return n.last.String()
}

// lead makes names lead to a new address, until the test ends.
func (n *network) lead(t testing.TB, all ...string) (string, error) {
	t.Helper()
	address := n.address()
	remove, err := n.names.Add(netip.MustParseAddr(address), all...)
	if err != nil {
		return "", err
	}
	t.Cleanup(remove)
	return net.JoinHostPort(address, "443"), nil
}
