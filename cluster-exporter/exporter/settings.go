package exporter

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

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
	CABundle          string        `json:"caBundle,omitempty"          yaml:"caBundle"` // PEM file with further authorities of destinations
}

// Destination is one publisher.
type Destination struct {
	Publisher string   `json:"publisher" yaml:"publisher"` // its name, which the snapshots are for
	Webhook   *Webhook `json:"webhook"   yaml:"webhook"`
}

// Webhook is a publisher's URL that takes snapshots, ending in /v1/snapshots.
type Webhook struct {
	URL string `json:"url" yaml:"url"`
}

// APIServers says where the API servers are, if the EndpointSlice of the service "kubernetes" does not.
type APIServers struct {
	Addresses  []string `json:"addresses,omitempty"  yaml:"addresses"`  // host:port of each
	Expect     int      `json:"expect,omitempty"     yaml:"expect"`     // how many stand behind one virtual address
	ServerName string   `json:"serverName,omitempty" yaml:"serverName"` // in their certificates, if not kubernetes.default.svc
}

// ParseSettings reads and checks a file. The error is settings.ErrInvalid.
func ParseSettings(name string, data []byte) (Settings, error) {
	s := Settings{
		ServiceAccount: "kube-iam-assume/cluster-exporter", PollInterval: 10 * time.Second, HeartbeatInterval: 10 * time.Minute,
		APIServers: APIServers{ServerName: "kubernetes.default.svc"},
	}
	d, err := settings.Decode(name, data, "Exporter", &s)
	if err != nil {
		return Settings{}, err
	}
	namespace, account, _ := strings.Cut(s.ServiceAccount, "/")
	switch {
	case s.Cluster == "":
		return Settings{}, d.Errorf(nil, "no cluster: its ID, as in the publisher's settings")
	case !strings.HasPrefix(s.Issuer, "https://"):
		return Settings{}, d.Errorf([]any{"issuer"}, "issuer %q: want the https URL that the API servers have as their first --service-account-issuer", s.Issuer)
	case namespace == "" || account == "":
		return Settings{}, d.Errorf([]any{"serviceAccount"}, "serviceAccount %q: want namespace/name", s.ServiceAccount)
	case s.PollInterval < time.Second || s.HeartbeatInterval < s.PollInterval:
		return Settings{}, d.Errorf([]any{"pollInterval"}, "want a pollInterval of at least 1s and a heartbeatInterval that is longer")
	case s.HeartbeatInterval > 25*time.Minute:
		return Settings{}, d.Errorf([]any{"heartbeatInterval"}, "heartbeatInterval %s: publishers raise an alarm after 30m of silence; want at most 25m", s.HeartbeatInterval)
	case len(s.Destinations) == 0:
		return Settings{}, d.Errorf([]any{"destinations"}, "no destinations: nobody would be told the keys")
	case s.APIServers.Expect < 0 || s.APIServers.Expect > 0 && len(s.APIServers.Addresses) > 0:
		return Settings{}, d.Errorf([]any{"apiServers"}, "want addresses or expect, not both")
	}
	return s, s.checkPlaces(d)
}

func (s Settings) checkPlaces(d *settings.Document) error {
	for i, address := range s.APIServers.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return d.Errorf([]any{"apiServers", "addresses", i}, "address %q: want host:port", address)
		}
	}
	names := map[string]bool{}
	for i, destination := range s.Destinations {
		at := []any{"destinations", i}
		if destination.Publisher == "" || names[destination.Publisher] {
			return d.Errorf(at, "publisher %q: want the publisher's name, once", destination.Publisher)
		}
		names[destination.Publisher] = true
		if destination.Webhook == nil {
			return d.Errorf(at, "destination %q has no webhook", destination.Publisher)
		}
		if u, err := url.Parse(destination.Webhook.URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
			return d.Errorf(append(at, "webhook", "url"), "webhook of %q: want an https URL without credentials", destination.Publisher)
		}
	}
	if u, err := url.Parse(s.Proxy); err != nil || s.Proxy != "" && u.Host == "" {
		return d.Errorf([]any{"proxy"}, "proxy: want a URL such as http://proxy.example.com:3128")
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
