package stackfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// file is the YAML of an AWSStack.
type file struct {
	settings.Header `yaml:",inline"`

	Name      string         `json:"name"                yaml:"name"`
	Account   string         `json:"account"             yaml:"account"`
	Region    string         `json:"region"              yaml:"region"`
	Hosting   hostingFile    `json:"hosting"             yaml:"hosting"`
	Clusters  directoryFile  `json:"clusters"            yaml:"clusters"`
	Retention *time.Duration `json:"retention,omitempty" yaml:"retention"`
	Mirrors   []string       `json:"mirrors,omitempty"   yaml:"mirrors"`
	Roles     []roleFile     `json:"roles,omitempty"     yaml:"roles"`
	Webhook   string         `json:"webhook,omitempty"   yaml:"webhook"`
	Queue     *bool          `json:"queue,omitempty"     yaml:"queue"`
	Alarms    alarmsFile     `json:"alarms,omitzero"     yaml:"alarms"`
	Logs      struct {
		RetentionDays int `json:"retentionDays,omitempty" yaml:"retentionDays"`
	} `json:"logs,omitzero" yaml:"logs"`
	Dashboard           bool `json:"dashboard,omitempty"           yaml:"dashboard"`
	ReservedConcurrency int  `json:"reservedConcurrency,omitempty" yaml:"reservedConcurrency"`
}

type directoryFile struct {
	Directory string `json:"directory" yaml:"directory"`
}

type hostingFile struct {
	Bucket     *bucketFile     `json:"bucket,omitempty"     yaml:"bucket"`
	CloudFront *cloudFrontFile `json:"cloudFront,omitempty" yaml:"cloudFront"`
	Existing   string          `json:"existing,omitempty"   yaml:"existing"`
}

type bucketFile struct {
	Prefix string `json:"prefix,omitempty" yaml:"prefix"`
	Name   string `json:"name,omitempty"   yaml:"name"`
}

type cloudFrontFile struct {
	Domain         string `json:"domain"         yaml:"domain"`
	CertificateARN string `json:"certificateARN" yaml:"certificateARN"`
	HostedZoneID   string `json:"hostedZoneID"   yaml:"hostedZoneID"`
}

type alarmsFile struct {
	Email    string `json:"email,omitempty"    yaml:"email"`
	TopicARN string `json:"topicARN,omitempty" yaml:"topicARN"`
}

type roleFile struct {
	ServiceAccount  string    `json:"serviceAccount"            yaml:"serviceAccount"`
	Clusters        selection `json:"clusters"                  yaml:"clusters"`
	PerCluster      bool      `json:"perCluster,omitempty"      yaml:"perCluster"`
	ManagedPolicies []string  `json:"managedPolicies,omitempty" yaml:"managedPolicies"`
	InlinePolicies  []Policy  `json:"inlinePolicies,omitempty"  yaml:"inlinePolicies"`
}

// selection is a list of cluster IDs, or the word "all".
type selection struct {
	all bool
	ids []string
}

func (s *selection) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode && node.Value == "all" {
		s.all = true
		return nil
	}
	if err := node.Decode(&s.ids); err != nil {
		return &settings.LineError{Line: node.Line, Err: errors.New("want a list of cluster IDs, or all")}
	}
	return nil
}

// Load reads a stack's file, and the cluster files in the directory that it names, relative to it. The errors are settings.ErrInvalid and
// those of packages enrollment and jwks, and of the file system.
func Load(name string) (Stack, error) {
	return loadFS(os.DirFS(filepath.Dir(name)), filepath.Base(name))
}

func loadFS(fsys fs.FS, name string) (Stack, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return Stack{}, fmt.Errorf("read the stack's settings: %w", err)
	}
	var f file
	d, err := settings.Decode(name, data, "AWSStack", &f)
	if err != nil {
		return Stack{}, err
	}
	r := reader{Document: d, file: f}
	s := Stack{
		Name: f.Name, Account: f.Account, Region: f.Region, Retention: 48 * time.Hour, Webhook: HTTPAPI, Queue: true,
		Email: f.Alarms.Email, TopicARN: f.Alarms.TopicARN, LogRetentionDays: 90, Dashboard: f.Dashboard, ReservedConcurrency: f.ReservedConcurrency,
	}
	r.defaults(&s)
	if err := r.check(s); err != nil {
		return Stack{}, err
	}
	if s.Hosting, err = r.hosting(s); err != nil {
		return Stack{}, err
	}
	if s.Mirrors, err = r.mirrors(s.Hosting.URL); err != nil {
		return Stack{}, err
	}
	if s.Clusters, s.files, err = r.clusters(fsys, s); err != nil {
		return Stack{}, err
	}
	if err := s.checkPublisher(); err != nil {
		return Stack{}, err
	}
	s.Roles, err = r.roles(s)
	return s, err
}

// reader is a file with its lines.
type reader struct {
	*settings.Document
	file
}

func (r reader) defaults(s *Stack) {
	if r.Retention != nil {
		s.Retention = *r.Retention
	}
	if r.Webhook != "" {
		s.Webhook = Webhook(r.Webhook)
	}
	if r.Queue != nil {
		s.Queue = *r.Queue
	}
	if r.Logs.RetentionDays != 0 {
		s.LogRetentionDays = r.Logs.RetentionDays
	}
}

// clusters reads every file of the directory: a cluster that is not in the stack any more must say so with removed: true.
func (r reader) clusters(fsys fs.FS, s Stack) ([]Cluster, map[string][]byte, error) {
	at := []any{"clusters", "directory"}
	directory := path.Clean(r.Clusters.Directory)
	entries, err := fs.ReadDir(fsys, directory)
	if r.Clusters.Directory == "" || err != nil {
		return nil, nil, r.Errorf(at, "no directory %q beside the stack's file: write `directory: clusters/` and put the files that `kube-iam-assume enroll` prints there",
			r.Clusters.Directory)
	}
	var all []Cluster
	files := map[string][]byte{}
	for _, entry := range entries {
		id, isYAML := strings.CutSuffix(entry.Name(), ".yaml")
		if !isYAML {
			return nil, nil, r.Errorf(at, "%s is no cluster's file: every file there is CLUSTER-ID.yaml; move it elsewhere", path.Join(directory, entry.Name()))
		}
		name := path.Join(directory, entry.Name())
		data, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, nil, fmt.Errorf("read the settings of cluster %q: %w", id, err)
		}
		c, err := enrollment.ParseCluster(name, data)
		if err != nil {
			return nil, nil, err
		}
		if i := slices.IndexFunc(all, func(other Cluster) bool { return alphanumeric(other.ID) == alphanumeric(c.ID) }); i >= 0 {
			return nil, nil, r.Errorf(at, "clusters %q and %q differ only in hyphens, which names in CloudFormation don't have: give one another ID", all[i].ID, c.ID)
		}
		issuer := s.Hosting.URL + "/" + c.ID
		if len(issuer) > maxIssuer {
			return nil, nil, r.Errorf([]any{"hosting"}, "issuer %s has %d characters, IAM takes %d: give a shorter host or cluster ID", issuer, len(issuer), maxIssuer)
		}
		all = append(all, Cluster{Cluster: c, Issuer: issuer})
		files[path.Join("clusters", entry.Name())] = data
	}
	if len(all) == 0 {
		return nil, nil, r.Errorf(at, "no clusters in %s: `kube-iam-assume enroll ID > %s/ID.yaml` writes one", directory, directory)
	}
	return all, files, nil
}

// maxIssuer is the longest URL of an identity provider (API reference of IAM, CreateOpenIDConnectProvider).
const maxIssuer = 255

func alphanumeric(id string) string { return strings.ReplaceAll(id, "-", "") }

func (r reader) roles(s Stack) ([]Role, error) {
	var all []Role
	for i, f := range r.Roles {
		at := func(field string) []any { return []any{"roles", i, field} }
		namespace, name, ok := strings.Cut(f.ServiceAccount, "/")
		if !ok || !serviceAccount.MatchString(f.ServiceAccount) {
			return nil, r.Errorf(at("serviceAccount"), "service account %q: want namespace/name, exactly: a wildcard would hand the role to whoever may name an account", f.ServiceAccount)
		}
		role := Role{Namespace: namespace, Name: name, PerCluster: f.PerCluster, ManagedPolicies: f.ManagedPolicies}
		var err error
		if role.Clusters, err = r.chosen(at("clusters"), f.Clusters, s); err != nil {
			return nil, err
		}
		if role.InlinePolicies, err = r.inline(at("inlinePolicies"), f.InlinePolicies); err != nil {
			return nil, err
		}
		if err := r.managed(at("managedPolicies"), f.ManagedPolicies); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(other Role) bool { return other.Namespace == namespace && other.Name == name }) {
			return nil, r.Errorf(at("serviceAccount"), "service account %s is listed twice: put its policies and clusters under one", f.ServiceAccount)
		}
		if err := role.checkTrust(s); err != nil {
			return nil, r.Errorf(at("clusters"), "%w", err)
		}
		all = append(all, role)
	}
	return all, nil
}

func (r reader) chosen(at []any, chosen selection, s Stack) ([]Cluster, error) {
	if chosen.all {
		return s.Clusters, nil
	}
	if len(chosen.ids) == 0 {
		return nil, r.Errorf(at[:2], "the role names no clusters: want a list of cluster IDs, or all")
	}
	var clusters []Cluster
	for j, id := range chosen.ids {
		k := slices.IndexFunc(s.Clusters, func(c Cluster) bool { return c.ID == id })
		if k < 0 {
			return nil, r.Errorf(append(at, j), "cluster %q has no file in %s", id, r.Clusters.Directory)
		}
		if slices.Contains(chosen.ids[:j], id) {
			return nil, r.Errorf(append(at, j), "cluster %q is listed twice", id)
		}
		clusters = append(clusters, s.Clusters[k])
	}
	return clusters, nil
}

func (r reader) managed(at []any, arns []string) error {
	for j, arn := range arns {
		if !managedPolicy.MatchString(arn) {
			return r.Errorf(append(at, j), "managed policy %q: want its ARN, arn:aws:iam::ACCOUNT:policy/NAME, without wildcards", arn)
		}
		if slices.Contains(arns[:j], arn) {
			return r.Errorf(append(at, j), "managed policy %s is listed twice", arn)
		}
	}
	return nil
}

func (r reader) inline(at []any, policies []Policy) ([]Policy, error) {
	var all []Policy
	for j, p := range policies {
		if !policyName.MatchString(p.Name) || p.Document == nil {
			return nil, r.Errorf(append(at, j), "inline policy %q: want a name of letters, digits and + = , . @ _ -, and a document", p.Name)
		}
		if slices.ContainsFunc(all, func(other Policy) bool { return other.Name == p.Name }) {
			return nil, r.Errorf(append(at, j), "inline policy %q is listed twice: put both statements into one, or give one another name", p.Name)
		}
		all = append(all, p)
	}
	return all, nil
}
