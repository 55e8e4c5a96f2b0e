// Package publish owns the public documents of its issuers: it judges snapshots and operators' statements with package rotation,
// commits the outcome, and writes discovery document and JWKS.
//
// Every use case has two halves. Commit reads the state, decides and writes the state on the condition that nobody else did. Publish
// makes the documents what the state says, whoever wrote it, and stores the log record the state holds. Success is reported only after
// both. Any number of publishers may run at once, and any may die at any point: commit.go has the order and why it is so.
package publish

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

// Config is what a publisher is made of.
type Config struct {
	Settings  enrollment.Publisher
	Documents bucket.Bucket     // public; the caller makes sure that it is not Private
	Private   bucket.Bucket     // state and log
	Targets   map[string]Target // by issuer URL: what is to have its keys beside the documents bucket
	Logger    *slog.Logger      // one line per event; nil discards
	Now       func() time.Time
	RootCAs   *x509.CertPool // for reading the documents back; nil for the system's
}

// Publisher judges and publishes for the issuers of its settings. It is safe for concurrent use.
type Publisher struct {
	name      string
	issuers   []*issuer
	documents bucket.Bucket
	private   bucket.Bucket
	logger    *slog.Logger
	now       func() time.Time
	strangers strangers
	readBack  func(context.Context, *issuer)  // compareWithPublic
	pause     func(attempt int) time.Duration // before another attempt

	mu      sync.Mutex
	stored  map[string]string      // issuer → digest of the last log record seen stored
	repairs map[string][]time.Time // document → repairs in the last hour
}

type issuer struct {
	url       string
	servedAt  string   // where this publisher's documents are: the issuer's URL, or on a mirror another
	others    []string // where other publishers' documents of the issuer are
	policy    rotation.Policy
	internal  bool
	private   bool // nobody fetches the documents
	discovery bucket.Object
	names     Objects
	target    Target // nil for none
}

// Objects are the names of what is stored for an issuer. Who grants rights needs them.
type Objects struct {
	Discovery, JWKS string // in the documents bucket
	State           string // in the private bucket
	Log             string // the folder of the log's records there
}

// ObjectsOf names an issuer's objects. The error says what of the issuer can't be a name.
func ObjectsOf(settings enrollment.Issuer) (Objects, error) {
	u, err := url.Parse(settings.URL)
	if err != nil {
		return Objects{}, fmt.Errorf("publish: issuer %q: %w", settings.URL, err)
	}
	// The private names come from the whole URL, because two issuers may have the same path under different hosts.
	id := strings.NewReplacer("/", "!", ":", "~").Replace(u.Host + u.Path)
	objects := Objects{
		Discovery: path.Join(settings.Path, discoveryPath),
		JWKS:      path.Join(settings.Path, jwksPath),
		State:     "state/" + id + ".json",
		Log:       "log/" + id,
	}
	for _, name := range []string{objects.Discovery, objects.JWKS, objects.State, objects.record(1)} {
		if err := bucket.CheckName(name); err != nil {
			return Objects{}, fmt.Errorf("publish: issuer %q: %w", settings.URL, err)
		}
	}
	return objects, nil
}

// New checks the settings against each other and makes a Publisher. It reads and writes nothing.
func New(config Config) (*Publisher, error) {
	if config.Documents == nil || config.Private == nil {
		return nil, errors.New("publish: want two buckets, one for the documents and one private")
	}
	p := &Publisher{
		name: config.Settings.Name, documents: config.Documents, private: config.Private,
		logger: config.Logger, now: config.Now, strangers: newStrangers(config.RootCAs), pause: jitter,
		stored: map[string]string{}, repairs: map[string][]time.Time{},
	}
	p.readBack = p.compareWithPublic
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	if p.now == nil {
		p.now = time.Now
	}
	for _, settings := range config.Settings.Issuers {
		iss, err := newIssuer(settings)
		if err != nil {
			return nil, err
		}
		iss.target = config.Targets[iss.url]
		if settings.WorkloadIdentityProvider != "" && iss.target == nil {
			return nil, fmt.Errorf("publish: issuer %s: this publisher can't write to a workloadIdentityProvider: the function for Google Cloud can", iss.url)
		}
		p.issuers = append(p.issuers, iss)
	}
	return p, nil
}

func newIssuer(settings enrollment.Issuer) (*issuer, error) {
	objects, err := ObjectsOf(settings)
	if err != nil {
		return nil, err
	}
	iss := &issuer{
		url: settings.URL, servedAt: settings.URL, others: settings.Mirrors, policy: policyOf(settings), internal: settings.Internal, private: settings.Private,
		discovery: document(discoveryDocument(settings)), names: objects,
	}
	if settings.ServedAt != "" {
		iss.servedAt, iss.others = settings.ServedAt, append([]string{settings.URL}, settings.Mirrors...)
	}
	return iss, nil
}

func (n Objects) record(number int64) string { return fmt.Sprintf("%s/%010d.json", n.Log, number) }

// document is an object as every consumer must get it. Without a Cache-Control of ours, Cloud Storage would say one hour.
func document(body []byte) bucket.Object {
	return bucket.Object{Body: body, ContentType: "application/json", CacheControl: "public, max-age=60, must-revalidate"}
}

func private(body []byte) bucket.Object {
	return bucket.Object{Body: body, ContentType: "application/json", CacheControl: "no-store"}
}

func policyOf(settings enrollment.Issuer) rotation.Policy {
	policy := rotation.Policy{Issuer: settings.URL, Retention: settings.Retention}
	for _, c := range settings.Clusters {
		policy.Members = append(policy.Members, rotation.Member{
			Cluster: c.ID, Generation: c.Generation, ServiceAccount: c.ExporterServiceAccount,
			Bootstrap: c.BootstrapKeys, SnapshotKeys: c.SnapshotKeys, Announced: c.AnnouncedKeys, Revoked: c.RevokedKeys,
			Removed: c.Removed, ExternalIDs: c.ExternalKeyIDs,
		})
	}
	return policy
}

func (p *Publisher) byCluster(cluster string) (*issuer, error) {
	for _, iss := range p.issuers {
		if _, ok := iss.policy.Member(cluster); ok {
			return iss, nil
		}
	}
	return nil, fmt.Errorf("%w: %q", rotation.ErrUnknownCluster, cluster)
}

func (p *Publisher) byURL(url string) (*issuer, error) {
	for _, iss := range p.issuers {
		if iss.url == url {
			return iss, nil
		}
	}
	return nil, fmt.Errorf("%w: %q is no issuer of the publisher %q", rotation.ErrStatement, url, p.name)
}

// Where an issuer's documents are, below its URL and below its path in the bucket.
const (
	discoveryPath = ".well-known/openid-configuration"
	jwksPath      = "openid/v1/jwks"
)

// DocumentNames maps what follows an issuer's URL to the object that holds it, for a web server of one's own.
func DocumentNames(issuer enrollment.Issuer) map[string]string {
	return map[string]string{
		discoveryPath: path.Join(issuer.Path, discoveryPath),
		jwksPath:      path.Join(issuer.Path, jwksPath),
	}
}

var _ http.Handler = (*Handler)(nil)
