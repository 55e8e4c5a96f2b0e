package fromsource

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	firstReport = 2 * time.Second // quicker work needs no explanation
	nextReport  = 10 * time.Second
)

// A report tells somebody who waits what for, and how long it has been.
type report struct {
	done   chan struct{}
	closed sync.WaitGroup
}

func startReport(to io.Writer, what string) *report {
	r := &report{done: make(chan struct{})}
	start := time.Now()
	r.closed.Go(func() {
		for next := time.NewTimer(firstReport); ; next.Reset(nextReport) {
			select {
			case <-r.done:
				next.Stop()
				return
			case <-next.C:
				fmt.Fprintf(to, "%s; %s so far\n", what, time.Since(start).Round(time.Second))
			}
		}
	})
	return r
}

// stop returns once nothing more is written.
func (r *report) stop() {
	close(r.done)
	r.closed.Wait()
}
