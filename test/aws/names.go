package aws

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"golang.org/x/net/dns/dnsmessage"
)

// names answer DNS queries (RFC 1035) over UDP. A hosts file would do, were there not a name per bucket.
type names struct {
	mu    sync.RWMutex
	known map[string]netip.Addr // "*." stands for one label
}

func newNames() *names { return &names{known: map[string]netip.Addr{}} }

// add makes names lead to an address, and returns what ends that.
func (n *names) add(address netip.Addr, all []string) (remove func(), err error) {
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

func (n *names) find(name string) (netip.Addr, bool) {
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

// serve answers until the process ends.
func (n *names) serve(at string) error {
	socket, err := net.ListenPacket("udp4", at)
	if err != nil {
		return fmt.Errorf("serve names: %w", err)
	}
	go func() {
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
	}()
	return nil
}

// answer has nothing to say to what is no query.
func (n *names) answer(query []byte) ([]byte, bool) {
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
