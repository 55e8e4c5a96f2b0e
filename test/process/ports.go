package process

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Below the range from which Linux takes the ports of outgoing connections: a server that restarts must find its port free.
const (
	lowestPort  = 20000
	highestPort = 32767
)

var givenPorts = struct {
	sync.Mutex
	taken map[int]bool
}{taken: map[int]bool{}}

// FreePort finds a port that is free on every host, and that this process gave to nobody. Other processes choose at random
// from the same twelve thousand.
func FreePort(hosts ...string) (int, error) {
	givenPorts.Lock()
	defer givenPorts.Unlock()
	var tried error
	for range 100 {
		port := lowestPort + rand.IntN(highestPort-lowestPort+1)
		if givenPorts.taken[port] {
			continue
		}
		if tried = tryPort(port, hosts); tried == nil {
			givenPorts.taken[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port on %v (several servers need 127.0.0.2 and 127.0.0.3 on the loopback interface): %w", hosts, tried)
}

func tryPort(port int, hosts []string) error {
	var failures []error
	for _, host := range hosts {
		listener, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return err
		}
		failures = append(failures, listener.Close())
	}
	return errors.Join(failures...)
}
