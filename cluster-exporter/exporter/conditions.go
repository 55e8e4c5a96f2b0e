package exporter

import (
	"sync"
	"time"

	core "k8s.io/api/core/v1"
)

// remindAfter is how long a condition lasts before it is told again: Kubernetes forgets Events after an hour.
const remindAfter = 30 * time.Minute

// condition is one thing that can be wrong, about one API server or destination or about the cluster ("").
type condition struct{ reason, about string }

// conditions remembers what is wrong, so that people are told when something begins, changes in kind and ends, not at every poll.
type conditions struct {
	now     func() time.Time
	metrics *metrics
	tell    func(eventType, reason, message string)

	mu    sync.Mutex
	wrong map[condition]trouble
}

type trouble struct {
	kind    string // a change of it is told again; a change of message is not, because that may hold port numbers
	message string
	told    time.Time
}

// raise says that something is wrong.
func (c *conditions) raise(what condition, kind, message string) {
	now := c.now()
	c.mu.Lock()
	before, known := c.wrong[what]
	again := !known || before.kind != kind || now.Sub(before.told) >= remindAfter
	if again {
		c.wrong[what] = trouble{kind, message, now}
	}
	c.mu.Unlock()
	c.metrics.problems.WithLabelValues(what.reason, what.about).Set(1)
	if again {
		c.tell(core.EventTypeWarning, what.reason, message)
	}
}

// clear says that it is not, or not any more.
func (c *conditions) clear(what condition) {
	c.mu.Lock()
	before, known := c.wrong[what]
	delete(c.wrong, what)
	c.mu.Unlock()
	c.metrics.problems.WithLabelValues(what.reason, what.about).Set(0)
	if known {
		c.tell(core.EventTypeNormal, what.reason+"Resolved", "over: "+before.message)
	}
}

// check raises or clears.
func (c *conditions) check(wrong bool, what condition, kind string, message func() string) {
	if wrong {
		c.raise(what, kind, message())
	} else {
		c.clear(what)
	}
}

// forget drops what is known about something that is gone.
func (c *conditions) forget(about string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for what := range c.wrong {
		if what.about == about {
			delete(c.wrong, what)
		}
	}
	c.metrics.problems.DeletePartialMatch(map[string]string{"about": about})
}
