package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// defaultAccount is the account that the chart makes, and that enrollments believe unless they say otherwise.
const defaultAccount = "kube-iam-assume/cluster-exporter"

// exporterFile is the YAML of an exporter (kind: Exporter): every field, so that a mistyped one is found, and of the queues only that
// they are there. The exporter itself checks more when it starts.
type exporterFile struct {
	settings.Header `yaml:",inline"`

	Cluster           string         `json:"cluster"           yaml:"cluster"`
	Issuer            string         `json:"issuer"            yaml:"issuer"`
	ServiceAccount    string         `json:"serviceAccount"    yaml:"serviceAccount"`
	PollInterval      time.Duration  `json:"pollInterval"      yaml:"pollInterval"`
	HeartbeatInterval time.Duration  `json:"heartbeatInterval" yaml:"heartbeatInterval"`
	Destinations      []destination  `json:"destinations"      yaml:"destinations"`
	APIServers        map[string]any `json:"apiServers"        yaml:"apiServers"`
	Proxy             string         `json:"proxy"             yaml:"proxy"`
	CABundle          string         `json:"caBundle"          yaml:"caBundle"`
}

// destination is one publisher, with the doors to it.
type destination struct {
	Publisher    string         `json:"publisher"    yaml:"publisher"`
	Webhook      map[string]any `json:"webhook"      yaml:"webhook"`
	SQS          map[string]any `json:"sqs"          yaml:"sqs"`
	PubSub       map[string]any `json:"pubsub"       yaml:"pubsub"`
	StorageQueue map[string]any `json:"storageQueue" yaml:"storageQueue"`
}

func parseExporter(file File) (*exporterFile, error) {
	s := &exporterFile{ServiceAccount: defaultAccount}
	d, err := settings.Decode(file.Name, file.Data, "Exporter", s)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Cluster == "":
		return nil, d.Errorf([]any{"cluster"}, "no cluster: want the cluster's ID at its publisher")
	case !strings.HasPrefix(s.Issuer, "https://"):
		return nil, d.Errorf([]any{"issuer"}, "issuer %q: want the https URL that the API servers have", s.Issuer)
	case len(s.Destinations) == 0:
		return nil, d.Errorf([]any{"destinations"}, "no destinations: nobody would be told the keys")
	}
	names := map[string]bool{}
	for i, to := range s.Destinations {
		if names[to.Publisher] {
			return nil, d.Errorf([]any{"destinations", i, "publisher"}, "two publishers are called %q: a snapshot for one would be believed by the other", to.Publisher)
		}
		names[to.Publisher] = true
		if to.Publisher == "" || to.Webhook == nil && to.SQS == nil && to.PubSub == nil && to.StorageQueue == nil {
			return nil, d.Errorf([]any{"destinations", i}, "destination %q: want a publisher's name, and webhook, sqs, pubsub or storageQueue", to.Publisher)
		}
	}
	return s, nil
}

func (s *exporterFile) String() string {
	return fmt.Sprintf("cluster %s, issuer %s, %d destinations", s.Cluster, s.Issuer, len(s.Destinations))
}
