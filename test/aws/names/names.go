// Package names answers DNS queries (RFC 1035) over UDP, for tests that make names up. A hosts file would do, were there not a
// name per bucket.
package names

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// Names lead to addresses; all others lead nowhere. They may be used from several goroutines.
type Names struct {
	mu    sync.RWMutex
	known map[string]netip.Addr
}

// New is no names.
func New() *Names { return &Names{known: map[string]netip.Addr{}} }

// Add makes names lead to an IPv4 address, and returns what ends that. A name that begins with "*." stands for all with one
// label in that place. It is an error if one leads somewhere already.
func (n *Names) Add(address netip.Addr, all ...string) (remove func(), err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, name := range all {
		if taken, found := n.known[name]; found {
			return nil, fmt.Errorf("%s leads to %s already: one stand-in at a time", name, taken)
		}
	}
	for _, name := range all {
		n.known[name] = address
	}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, name := range all {
			delete(n.known, name)
		}
	}, nil
}

func (n *Names) find(name string) (netip.Addr, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if address, found := n.known[name]; found {
		return address, true
	}
	_, parent, _ := strings.Cut(name, ".")
	address, found := n.known["*."+parent]
	return address, found
}

// Serve answers at an address until the process ends.
func (n *Names) Serve(at string) error {
	socket, err := net.ListenPacket("udp4", at)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	go n.respond(socket)
	return nil
}

// respond ends when the socket is closed.
func (n *Names) respond(socket net.PacketConn) {
	query := make([]byte, 1500)
	for {
		size, from, err := socket.ReadFrom(query)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if answer, ok := n.answer(query[:size]); err == nil && ok {
			_, _ = socket.WriteTo(answer, from) // who gets no answer asks again
		}
	}
}

// answer has nothing to say to what is no query.
func (n *Names) answer(query []byte) ([]byte, bool) {
	var parser dnsmessage.Parser
	header, err := parser.Start(query)
	if err != nil || header.Response {
		return nil, false
	}
	question, err := parser.Question()
	if err != nil {
		return nil, false
	}
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true},
		Questions: []dnsmessage.Question{question},
	}
	address, found := n.find(question.Name.String())
	switch {
	case !found:
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.AResource{A: address.As4()},
		}}
	}
	packed, err := answer.Pack()
	return packed, err == nil
}
