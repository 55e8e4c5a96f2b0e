package enrollment

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// publisherFile is the YAML of a Publisher.
type publisherFile struct {
	settings.Header `yaml:",inline"`

	Name     string       `json:"name"     yaml:"name"`
	Issuers  []issuerFile `json:"issuers"  yaml:"issuers"`
	Clusters struct {
		Directory string `json:"directory" yaml:"directory"`
	} `json:"clusters" yaml:"clusters"`
}

type issuerFile struct {
	URL        string         `json:"url"                  yaml:"url"`
	Clusters   []string       `json:"clusters"             yaml:"clusters"`
	Path       *string        `json:"path,omitempty"       yaml:"path"`
	Retention  *time.Duration `json:"retention,omitempty"  yaml:"retention"`
	Shared     bool           `json:"shared,omitempty"     yaml:"shared"`
	Internal   bool           `json:"internal,omitempty"   yaml:"internal"`
	Mirrors    []string       `json:"mirrors,omitempty"    yaml:"mirrors"`
	ServedAt   string         `json:"servedAt,omitempty"   yaml:"servedAt"`
	Algorithms []string       `json:"algorithms,omitempty" yaml:"algorithms"`

	Private                  bool   `json:"private,omitempty"                  yaml:"private"`
	WorkloadIdentityProvider string `json:"workloadIdentityProvider,omitempty" yaml:"workloadIdentityProvider"`
}

const (
	defaultRetention = 48 * time.Hour // twice the longest token life that common webhooks ask for
	maxMembers       = 10             // of a shared issuer: each is a master key to the others
)

// Load reads a publisher's file and the cluster files in its directory, given relative to it. The errors are settings.ErrInvalid, those
// of package jwks for bad keys, and those of the file system.
func Load(file string) (Publisher, error) {
	return LoadFS(os.DirFS(filepath.Dir(file)), filepath.Base(file))
}

// LoadFS is Load within a file system.
func LoadFS(fsys fs.FS, name string) (Publisher, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return Publisher{}, fmt.Errorf("read the publisher's settings: %w", err)
	}
	var f publisherFile
	d, err := settings.Decode(name, data, "Publisher", &f)
	if err != nil {
		return Publisher{}, err
	}
	l := loader{
		Document: d, fsys: fsys, directory: path.Clean(f.Clusters.Directory),
		paths: map[string]string{}, clusters: map[string]string{}, keys: map[string]string{}, providers: map[string]string{},
	}
	if f.Name == "" {
		return Publisher{}, d.Errorf(nil, "no name: snapshots name the publisher they are for, such as prod/eu-central-1")
	}
	if len(f.Issuers) == 0 {
		return Publisher{}, d.Errorf([]any{"issuers"}, "no issuers: there is nothing to publish")
	}
	p := Publisher{Name: f.Name}
	for i, issuer := range f.Issuers {
		loaded, err := l.issuer(i, issuer, p.Issuers)
		if err != nil {
			return Publisher{}, err
		}
		p.Issuers = append(p.Issuers, loaded)
	}
	return p, nil
}

// loader checks what must be unique across issuers.
type loader struct {
	*settings.Document
	fsys      fs.FS
	directory string
	paths     map[string]string // documents path → issuer
	clusters  map[string]string // cluster ID → issuer
	keys      map[string]string // issuer and SPKI → cluster ID
	providers map[string]string // of Google → issuer
}

func (l *loader) issuer(i int, f issuerFile, before []Issuer) (Issuer, error) {
	at := func(field string) []any { return []any{"issuers", i, field} }
	if slices.ContainsFunc(before, func(other Issuer) bool { return other.URL == f.URL }) {
		return Issuer{}, l.Errorf(at("url"), "issuer %s is listed twice: put its clusters under one", f.URL)
	}
	u, err := parseIssuer(f.URL)
	if err != nil {
		return Issuer{}, l.Errorf(at("url"), "issuer %q: %w", f.URL, err)
	}
	issuer := Issuer{
		URL: f.URL, Path: strings.TrimPrefix(u.Path, "/"), Retention: defaultRetention,
		Shared: f.Shared, Internal: f.Internal, Mirrors: f.Mirrors, ServedAt: f.ServedAt, Algorithms: f.Algorithms,
		Private: f.Private, WorkloadIdentityProvider: f.WorkloadIdentityProvider,
	}
	if f.Path != nil {
		issuer.Path = *f.Path
	}
	if f.Retention != nil {
		issuer.Retention = *f.Retention
	}
	if err := l.checkIssuer(at, issuer, f); err != nil {
		return Issuer{}, err
	}
	for j, id := range f.Clusters {
		c, err := l.cluster(append(at("clusters"), j), id, issuer)
		if err != nil {
			return Issuer{}, err
		}
		issuer.Clusters = append(issuer.Clusters, c)
	}
	return issuer, l.checkMembers(at("clusters"), issuer)
}

var segment = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.~]*$`)

// parseIssuer holds the issuer to what every consumer compares byte for byte.
func parseIssuer(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "https":
		return nil, errors.New("want https://: no consumer accepts anything else")
	case u.Host == "" || u.User != nil:
		return nil, errors.New("want https://HOST/PATH")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(issuer, "#"):
		return nil, errors.New("a query or fragment is not allowed (OpenID Connect Discovery 1.0 section 3)")
	case strings.HasSuffix(issuer, "/"):
		return nil, errors.New("remove the trailing slash: consumers compare the issuer byte for byte")
	case u.Host != strings.ToLower(u.Host) || u.String() != issuer:
		return nil, fmt.Errorf("write it as %s: in lower case, and with nothing escaped that needs not be", strings.ToLower(u.Scheme+"://"+u.Host)+u.Path)
	}
	return u, checkPath(strings.TrimPrefix(u.Path, "/"))
}

func checkPath(p string) error {
	if p == "" {
		return nil
	}
	for s := range strings.SplitSeq(p, "/") {
		if !segment.MatchString(s) {
			return fmt.Errorf("path segment %q: want letters, digits and - _ . ~, beginning with a letter or digit", s)
		}
	}
	return nil
}

func (l *loader) checkIssuer(at func(string) []any, issuer Issuer, f issuerFile) error {
	if err := checkPath(issuer.Path); err != nil {
		return l.Errorf(at("path"), "%w", err)
	}
	if other, taken := l.paths[issuer.Path]; taken {
		return l.Errorf(at("path"), "documents path %q is also that of %s: they would overwrite each other", issuer.Path, other)
	}
	l.paths[issuer.Path] = issuer.URL
	switch {
	case issuer.Retention <= 0:
		return l.Errorf(at("retention"), "retention %s: want longer than the longest token that the API servers give out", issuer.Retention)
	case len(f.Clusters) == 0:
		return l.Errorf(at("clusters"), "issuer %s has no clusters", issuer.URL)
	case len(f.Clusters) > 1 && !issuer.Shared:
		return l.Errorf(at("clusters"), "%d clusters share an issuer: any of them could act as the workloads of the others. Give each its own URL, or set shared: true", len(f.Clusters))
	case len(f.Clusters) > maxMembers:
		return l.Errorf(at("clusters"), "%d clusters share an issuer, at most %d can", len(f.Clusters), maxMembers)
	}
	for i, algorithm := range issuer.Algorithms {
		if !slices.Contains([]string{"RS256", "ES256", "ES384", "ES512"}, algorithm) {
			return l.Errorf(append(at("algorithms"), i), "algorithm %q: API servers sign with RS256, ES256, ES384 or ES512", algorithm)
		}
	}
	if err := l.checkMirrors(at, issuer); err != nil {
		return err
	}
	return l.checkProvider(at, issuer)
}

// checkMirrors makes sure that the places of an issuer's documents are different ones.
func (l *loader) checkMirrors(at func(string) []any, issuer Issuer) error {
	places := map[string]string{issuer.URL: "the issuer's URL"}
	if issuer.ServedAt != "" {
		if _, err := parseIssuer(issuer.ServedAt); err != nil {
			return l.Errorf(at("servedAt"), "servedAt %q: %w", issuer.ServedAt, err)
		}
		if issuer.ServedAt == issuer.URL {
			return l.Errorf(at("servedAt"), "servedAt is the issuer's URL: leave it out, it is for mirrors")
		}
		places[issuer.ServedAt] = "servedAt"
	}
	for i, mirror := range issuer.Mirrors {
		if _, err := parseIssuer(mirror); err != nil {
			return l.Errorf(append(at("mirrors"), i), "mirror %q: %w", mirror, err)
		}
		if what, taken := places[mirror]; taken {
			return l.Errorf(append(at("mirrors"), i), "mirror %q is also %s: list each of the other publishers once", mirror, what)
		}
		places[mirror] = "listed already"
	}
	return nil
}

var providerName = regexp.MustCompile(`^projects/[a-z0-9][-a-z0-9:.]{0,62}/locations/global/workloadIdentityPools/[a-z0-9][-a-z0-9]{2,30}[a-z0-9]/providers/[a-z0-9][-a-z0-9]{2,30}[a-z0-9]$`)

// checkProvider makes sure that a Google provider gets the keys of one issuer alone: it has room for one issuer's.
func (l *loader) checkProvider(at func(string) []any, issuer Issuer) error {
	name := issuer.WorkloadIdentityProvider
	switch {
	case issuer.Private && (name == "" || len(issuer.Mirrors) > 0 || issuer.ServedAt != ""):
		return l.Errorf(at("private"), "private: true is for an issuer whose keys are at a workloadIdentityProvider and nowhere else: without one, or with mirrors, somebody has to fetch the documents")
	case name == "":
		return nil
	}
	if !providerName.MatchString(name) {
		return l.Errorf(at("workloadIdentityProvider"),
			"workloadIdentityProvider %q: want projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER", name)
	}
	if other, taken := l.providers[name]; taken {
		return l.Errorf(at("workloadIdentityProvider"), "provider %s is also that of %s: give each issuer its own", name, other)
	}
	l.providers[name] = issuer.URL
	return nil
}

func (l *loader) cluster(at []any, id string, issuer Issuer) (Cluster, error) {
	if !clusterID.MatchString(id) {
		return Cluster{}, l.Errorf(at, "cluster ID %q: want lower-case letters, digits and inner hyphens, at most 63", id)
	}
	if other, taken := l.clusters[id]; taken {
		return Cluster{}, l.Errorf(at, "cluster %q is also listed at %s: a cluster has one issuer", id, other)
	}
	l.clusters[id] = issuer.URL
	name := path.Join(l.directory, id+".yaml")
	data, err := fs.ReadFile(l.fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return Cluster{}, l.Errorf(at, "cluster %q has no file %s: `kube-iam-assume enroll %s > %s` writes it", id, name, id, name)
	}
	if err != nil {
		return Cluster{}, fmt.Errorf("read the settings of cluster %q: %w", id, err)
	}
	c, err := ParseCluster(name, data)
	if err != nil {
		return Cluster{}, err
	}
	if c.ID != id {
		return Cluster{}, fmt.Errorf("%s: %w: its id is %q: the file's name and the id must agree", name, settings.ErrInvalid, c.ID)
	}
	return c, l.claim(name, c, issuer)
}

// claim refuses a key that two clusters of an issuer list: a cloned cluster, or a shared sa.key, makes each the master of the other.
// Under two issuers one cluster may appear as two, while its API servers change from one to the other.
func (l *loader) claim(name string, c Cluster, issuer Issuer) error {
	for _, key := range slices.Concat(jwks.Set{}, c.BootstrapKeys, c.AnnouncedKeys) {
		claim := issuer.URL + " " + key.SPKI()
		if other, taken := l.keys[claim]; taken && other != c.ID {
			return fmt.Errorf("%s: %w: key %q is also one of cluster %q: give one of them a key of its own", name, settings.ErrInvalid, key.ID(), other)
		}
		l.keys[claim] = c.ID
	}
	return nil
}

func (l *loader) checkMembers(at []any, issuer Issuer) error {
	accounts := map[string]string{}
	for _, c := range issuer.Clusters {
		if other, taken := accounts[c.ExporterServiceAccount]; taken {
			return l.Errorf(at, "clusters %q and %q share an issuer and an exporterServiceAccount: use different names or namespaces, or a token of one counts in the other", other, c.ID)
		}
		accounts[c.ExporterServiceAccount] = c.ID
	}
	return nil
}

// Warnings are what is allowed and seldom meant.
func (p Publisher) Warnings() []string {
	var all []string
	for _, issuer := range p.Issuers {
		if u, err := url.Parse(issuer.URL); err == nil && u.Port() != "" {
			all = append(all, fmt.Sprintf("issuer %s has a port: AWS says that an issuer should not", issuer.URL))
		}
		if issuer.Retention < 25*time.Hour {
			all = append(all, fmt.Sprintf("issuer %s: a retention of %s is shorter than the day that common webhooks ask tokens for", issuer.URL, issuer.Retention))
		}
		if issuer.Shared {
			all = append(all, fmt.Sprintf("issuer %s is shared: each of its %d clusters can act as the workloads of all", issuer.URL, len(issuer.Clusters)))
		}
	}
	return all
}
