package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateCheck is how often the files are looked at, at most.
const certificateCheck = 2 * time.Second

// certificate is a pair of files that somebody renews.
type certificate struct {
	cert, key string
	logger    *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	stamp   string // of the files that current is from
	failure string // the last one told
	checked time.Time
}

func loadCertificate(cert, key string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, logger: logger, checked: time.Now()}
	c.stamp = c.stampOf() // before the read, so that a change in between is seen
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	c.current = &pair
	return c, nil
}

// get is tls.Config.GetCertificate. A new pair that can't be used, such as one half written, leaves the old one in use,
// and is tried again.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certificateCheck {
		return c.current, nil
	}
	c.checked = time.Now()
	stamp := c.stampOf()
	if stamp == c.stamp {
		return c.current, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		if c.failure != err.Error() {
			c.failure = err.Error()
			c.logger.Warn("the new certificate can't be used, the old one stays", "event", "certificate.failed", "detail", c.failure)
		}
		return c.current, nil
	}
	c.current, c.stamp, c.failure = &pair, stamp, ""
	c.logger.Info("certificate reloaded", "event", "certificate.reloaded", "until", pair.Leaf.NotAfter)
	return c.current, nil
}

func (c *certificate) stampOf() string {
	stamp := ""
	for _, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			stamp += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
		}
	}
	return stamp
}
