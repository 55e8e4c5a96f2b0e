package aws

import (
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	t.Parallel()
	n := &network{last: firstAddress, used: map[netip.Addr]bool{}}
	for range 3 * addresses { // each released before the next is taken
		n.release(takeOne(t, n))
	}
	taken := map[netip.Addr]bool{}
	for range addresses {
		taken[takeOne(t, n)] = true
	}
	if extra, err := n.take(); err == nil || len(taken) != addresses {
		t.Errorf("%d addresses were given, and then %s, %v", len(taken), extra, err)
	}
}

func takeOne(t *testing.T, n *network) netip.Addr {
	t.Helper()
	address, err := n.take()
	if err != nil || address.Less(firstAddress) || lastAddress.Less(address) {
		t.Fatalf("got %s, %v", address, err)
	}
	return address
}
