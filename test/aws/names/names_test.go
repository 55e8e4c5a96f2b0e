package names

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

var (
	one = netip.MustParseAddr("203.0.113.1")
	two = netip.MustParseAddr("203.0.113.2")
)

func TestNamesLead(t *testing.T) {
	t.Parallel()
	n := New()
	removeOne, err := n.Add(one, "sts.example.com", "*.s3.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Add(two, "other.example.com", "sts.example.com"); err == nil {
		t.Error("one name leads to two addresses")
	}
	if _, err := n.Add(two, "iam.example.com"); err != nil {
		t.Fatal(err)
	}
	resolver := resolverOf(t, n)
	for name, want := range map[string]netip.Addr{
		"sts.example.com": one, "STS.Example.com": one, "bucket.s3.example.com": one, "iam.example.com": two,
		"s3.example.com": {}, "a.bucket.s3.example.com": {}, "other.example.com": {}, "example.com": {}, "com": {},
	} {
		got, err := resolver.LookupNetIP(t.Context(), "ip4", name+".")
		if found := err == nil && len(got) == 1; found != want.IsValid() || found && got[0] != want {
			t.Errorf("%s leads to %v, %v; want %v", name, got, err, want)
		}
	}
	removeOne()
	if got, err := resolver.LookupNetIP(t.Context(), "ip4", "sts.example.com."); err == nil {
		t.Errorf("a name that was removed leads to %v", got)
	}
}

// resolverOf asks the names over the network.
func resolverOf(t *testing.T, n *Names) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = socket.Close() })
	go n.respond(socket)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", socket.LocalAddr().String())
	}}
}

func FuzzAnswer(f *testing.F) {
	n := New()
	if _, err := n.Add(one, "sts.example.com", "*.s3.example.com"); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"sts.example.com.", "a.s3.example.com.", "nowhere.", "."} {
		query := dnsmessage.Message{Questions: []dnsmessage.Question{{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		}}}
		packed, err := query.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, query []byte) {
		packed, ok := n.answer(query)
		if !ok {
			return
		}
		var answer dnsmessage.Message
		if err := answer.Unpack(packed); err != nil || !answer.Response || len(answer.Questions) != 1 {
			t.Errorf("the answer %x to %x: %v", packed, query, err)
		}
	})
}
