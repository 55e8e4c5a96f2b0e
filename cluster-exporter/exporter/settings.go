package exporter

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

const (
	// DefaultServiceAccount is the account that the chart makes, and that enrollments believe unless they say otherwise.
	DefaultServiceAccount = "kube-iam-assume/cluster-exporter"

	// DefaultServerName is in the certificate of every API server, whatever its address.
	DefaultServerName = "kubernetes.default.svc"

	minPollInterval = time.Second
	maxPollInterval = time.Minute // a rotation must not wait longer to be seen
	maxHeartbeat    = 25 * time.Minute
)

var clusterID = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// Settings is the YAML of an exporter (kind: Exporter).
type Settings struct {
	settings.Header `yaml:",inline"`

	Cluster           string        `json:"cluster"                     yaml:"cluster"`           // ID at its publishers
	Issuer            string        `json:"issuer"                      yaml:"issuer"`            // the one the API servers must have
	ServiceAccount    string        `json:"serviceAccount,omitempty"    yaml:"serviceAccount"`    // its own, namespace/name
	PollInterval      time.Duration `json:"pollInterval,omitempty"      yaml:"pollInterval"`      // between readings of the API servers
	HeartbeatInterval time.Duration `json:"heartbeatInterval,omitempty" yaml:"heartbeatInterval"` // between snapshots when nothing changes
	Destinations      []Destination `json:"destinations"                yaml:"destinations"`
	APIServers        APIServers    `json:"apiServers,omitzero"         yaml:"apiServers"`
	Proxy             string        `json:"proxy,omitempty"             yaml:"proxy"`    // URL, for destinations only
	CABundle          string        `json:"caBundle,omitempty"          yaml:"caBundle"` // PEM file with further authorities of all destinations
}

// Destination is one publisher.
type Destination struct {
	Publisher string   `json:"publisher" yaml:"publisher"` // its name, which the snapshots are for
	Webhook   *Webhook `json:"webhook,omitempty" yaml:"webhook"`

	// At most one queue. With a webhook beside it, that is used while the queue refuses.
	SQS          *SQS          `json:"sqs,omitempty" yaml:"sqs"`
	PubSub       *PubSub       `json:"pubsub,omitempty" yaml:"pubsub"`
	StorageQueue *StorageQueue `json:"storageQueue,omitempty" yaml:"storageQueue"`
}

// Webhook is a publisher's URL that takes snapshots, ending in /v1/snapshots.
type Webhook struct {
	URL      string `json:"url"                yaml:"url"`
	CABundle string `json:"caBundle,omitempty" yaml:"caBundle"` // PEM file with further authorities of this one
}

// APIServers says where the API servers are, if the EndpointSlice of the service "kubernetes" does not.
type APIServers struct {
	Addresses  []string `json:"addresses,omitempty"  yaml:"addresses"`  // host:port of each
	Expect     int      `json:"expect,omitempty"     yaml:"expect"`     // how many stand behind one virtual address
	ServerName string   `json:"serverName,omitempty" yaml:"serverName"` // in their certificates; empty for the address itself
	CAFile     string   `json:"caFile,omitempty"     yaml:"caFile"`     // PEM file with their authority, if not the pod's
}

// ParseSettings reads and checks a file. The error is settings.ErrInvalid.
func ParseSettings(name string, data []byte) (Settings, error) {
	s := Settings{
		ServiceAccount: DefaultServiceAccount, PollInterval: 10 * time.Second, HeartbeatInterval: 10 * time.Minute,
		APIServers: APIServers{ServerName: DefaultServerName},
	}
	d, err := settings.Decode(name, data, "Exporter", &s)
	if err != nil {
		return Settings{}, err
	}
	for _, check := range []func(*settings.Document) error{s.checkCluster, s.checkIntervals, s.checkAPIServers, s.checkDestinations} {
		if err := check(d); err != nil {
			return Settings{}, err
		}
	}
	return s, nil
}

func (s Settings) checkCluster(d *settings.Document) error {
	namespace, account, _ := strings.Cut(s.ServiceAccount, "/")
	switch {
	case !clusterID.MatchString(s.Cluster):
		return d.Errorf([]any{"cluster"}, "cluster %q: want the cluster's ID at its publisher: 1 to 63 lower-case letters, digits and inner hyphens", s.Cluster)
	case namespace == "" || account == "" || strings.Contains(account, "/"):
		return d.Errorf([]any{"serviceAccount"}, "serviceAccount %q: want namespace/name", s.ServiceAccount)
	}
	if err := checkIssuer(s.Issuer); err != nil {
		return d.Errorf([]any{"issuer"}, "issuer %q: %w", s.Issuer, err)
	}
	return nil
}

// checkIssuer refuses what no publisher would take, before it is sent.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return errors.New("want the https URL that the API servers have as their first --service-account-issuer")
	case strings.ContainsAny(issuer, "?#") || strings.HasSuffix(issuer, "/"):
		return errors.New("publishers refuse one with a query, a fragment or a trailing slash: change it here and at the API servers")
	}
	return nil
}

func (s Settings) checkIntervals(d *settings.Document) error {
	switch {
	case s.PollInterval < minPollInterval || s.PollInterval > maxPollInterval:
		return d.Errorf([]any{"pollInterval"}, "pollInterval %s: want %s to %s", s.PollInterval, minPollInterval, maxPollInterval)
	case s.HeartbeatInterval < s.PollInterval:
		return d.Errorf([]any{"heartbeatInterval"}, "heartbeatInterval %s: want no less than pollInterval, %s", s.HeartbeatInterval, s.PollInterval)
	case s.HeartbeatInterval > maxHeartbeat:
		return d.Errorf([]any{"heartbeatInterval"}, "heartbeatInterval %s: publishers raise an alarm after 30m of silence; want at most %s", s.HeartbeatInterval, maxHeartbeat)
	}
	return nil
}

func (s Settings) checkAPIServers(d *settings.Document) error {
	switch a := s.APIServers; {
	case a.Expect != 0 && len(a.Addresses) > 0:
		return d.Errorf([]any{"apiServers"}, "apiServers: want addresses or expect, not both")
	case a.Expect == 1:
		return d.Errorf([]any{"apiServers", "expect"}, "apiServers.expect 1: for one API server write its address in addresses")
	case a.Expect < 0 || a.Expect > 16:
		return d.Errorf([]any{"apiServers", "expect"}, "apiServers.expect %d: want how many API servers stand behind the address, 2 to 16", a.Expect)
	}
	seen := map[string]bool{}
	for i, address := range s.APIServers.Addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" || seen[address] {
			return d.Errorf([]any{"apiServers", "addresses", i}, "address %q: want host:port of each API server, once", address)
		}
		seen[address] = true
	}
	return nil
}

func (s Settings) checkDestinations(d *settings.Document) error {
	if len(s.Destinations) == 0 {
		return d.Errorf([]any{"destinations"}, "no destinations: nobody would be told the keys")
	}
	names := map[string]bool{}
	for i, destination := range s.Destinations {
		if destination.Publisher == "" || names[destination.Publisher] {
			return d.Errorf([]any{"destinations", i, "publisher"}, "publisher %q: want the publisher's name, once", destination.Publisher)
		}
		names[destination.Publisher] = true
		if err := destination.check(d, i); err != nil {
			return err
		}
	}
	if u, err := url.Parse(s.Proxy); err != nil || s.Proxy != "" && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5") {
		return d.Errorf([]any{"proxy"}, "proxy: want a URL such as http://proxy.example.com:3128")
	}
	return nil
}

func (destination Destination) check(d *settings.Document, i int) error {
	queues := destination.queues()
	switch {
	case len(queues) == 0 && destination.Webhook == nil:
		return d.Errorf([]any{"destinations", i}, "destination %q has no webhook: {url: https://…/v1/snapshots}, and no sqs, pubsub or storageQueue", destination.Publisher)
	case len(queues) > 1:
		return d.Errorf([]any{"destinations", i}, "destination %q has several queues: want one; a publisher of another cloud is a destination of its own", destination.Publisher)
	}
	for kind, queue := range queues {
		if err := queue.check(d, []any{"destinations", i, kind}, destination.Publisher); err != nil {
			return err
		}
	}
	if destination.Webhook == nil {
		return nil
	}
	u, err := url.Parse(destination.Webhook.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return d.Errorf([]any{"destinations", i, "webhook", "url"}, "webhook of %q: want an https URL without credentials", destination.Publisher)
	}
	return nil
}

func (s Settings) namespaceAndName() (namespace, name string) {
	namespace, name, _ = strings.Cut(s.ServiceAccount, "/")
	return namespace, name
}

func (s Settings) String() string {
	return fmt.Sprintf("cluster %s, issuer %s, %d destinations", s.Cluster, s.Issuer, len(s.Destinations))
}
