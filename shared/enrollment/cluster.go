package enrollment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// clusterFile is the YAML of a Cluster.
type clusterFile struct {
	settings.Header `yaml:",inline"`

	ID                     string   `json:"id"                     yaml:"id"`
	Generation             *int     `json:"generation,omitempty"   yaml:"generation"`
	ExporterServiceAccount string   `json:"exporterServiceAccount" yaml:"exporterServiceAccount"`
	BootstrapKeys          keySet   `json:"bootstrapKeys,omitzero" yaml:"bootstrapKeys"`
	SnapshotKeys           keySet   `json:"snapshotKeys,omitzero"  yaml:"snapshotKeys"`
	AnnouncedKeys          keySet   `json:"announcedKeys,omitzero" yaml:"announcedKeys"`
	RevokedKeys            []string `json:"revokedKeys,omitempty"  yaml:"revokedKeys"`
	Removed                bool     `json:"removed,omitempty"      yaml:"removed"`
	KeyIDs                 string   `json:"keyIDs,omitempty"       yaml:"keyIDs"`
}

// keySet is a JWK Set written as YAML.
type keySet struct{ jwks.Set }

func (s *keySet) UnmarshalYAML(node *yaml.Node) error {
	var value any
	if err := node.Decode(&value); err != nil {
		return err
	}
	data, err := json.Marshal(value)
	if err == nil {
		s.Set, err = jwks.Parse(data)
	}
	if errors.Is(err, jwks.ErrPrivate) {
		err = fmt.Errorf("%w: it has been written to a file, so rotate this key, and put the public key here", err)
	}
	if err != nil {
		return &settings.LineError{Line: node.Line, Err: err}
	}
	return nil
}

var (
	clusterID      = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	serviceAccount = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)
)

// ParseCluster reads a cluster's file. The error is settings.ErrInvalid and, for a bad key, also the one of package jwks.
func ParseCluster(name string, data []byte) (Cluster, error) {
	var f clusterFile
	d, err := settings.Decode(name, data, "Cluster", &f)
	if err != nil {
		return Cluster{}, err
	}
	c := Cluster{
		ID: f.ID, Generation: 1, ExporterServiceAccount: f.ExporterServiceAccount,
		BootstrapKeys: f.BootstrapKeys.Set, SnapshotKeys: f.SnapshotKeys.Set, AnnouncedKeys: f.AnnouncedKeys.Set,
		RevokedKeys: f.RevokedKeys, Removed: f.Removed, ExternalKeyIDs: f.KeyIDs == "external",
	}
	if f.Generation != nil {
		c.Generation = *f.Generation
	}
	switch {
	case !clusterID.MatchString(c.ID):
		return Cluster{}, d.Errorf([]any{"id"}, "cluster ID %q: want lower-case letters, digits and inner hyphens, at most 63", c.ID)
	case c.Generation < 1:
		return Cluster{}, d.Errorf([]any{"generation"}, "generation %d: want 1, and one more for every re-enrollment", c.Generation)
	case !serviceAccount.MatchString(c.ExporterServiceAccount):
		return Cluster{}, d.Errorf([]any{"exporterServiceAccount"}, "exporterServiceAccount %q: want namespace/name", c.ExporterServiceAccount)
	case len(c.BootstrapKeys) == 0 && len(c.SnapshotKeys) == 0:
		return Cluster{}, d.Errorf(nil, "no bootstrapKeys: `kube-iam-assume enroll %s` prints them", c.ID)
	case f.KeyIDs != "" && f.KeyIDs != "external":
		return Cluster{}, d.Errorf([]any{"keyIDs"}, "keyIDs %q: want external, or no such field", f.KeyIDs)
	}
	return c, c.checkKeys(d)
}

func (c Cluster) checkKeys(d *settings.Document) error {
	for field, set := range map[string]jwks.Set{"bootstrapKeys": c.BootstrapKeys, "announcedKeys": c.AnnouncedKeys} {
		for _, key := range set {
			if !c.ExternalKeyIDs && !key.HasDerivedID() {
				return d.Errorf([]any{field}, "the ID of key %q is not the one Kubernetes derives from it (%s): correct it, or set keyIDs: external if the cluster has an external signer",
					key.ID(), key.SPKI())
			}
		}
	}
	for _, key := range c.SnapshotKeys {
		if key.Algorithm() != "ES256" || key.ID() != key.Thumbprint() {
			return d.Errorf([]any{"snapshotKeys"}, "key %q: a snapshot key is on P-256 and its ID is its RFC 7638 thumbprint", key.ID())
		}
	}
	return nil
}

var clusterTemplate = template.Must(template.New("").Parse(`# The keys of one cluster at its enrollment. They start the trust; later keys come in by snapshots, so rotations change nothing here.
apiVersion: {{.APIVersion}}
kind: Cluster
id: {{.ID}}
generation: {{.Generation}} # one more, with new bootstrapKeys, starts the trust anew
exporterServiceAccount: {{.ExporterServiceAccount}} # whose word counts; keep its namespace to itself
{{- if .ExternalKeyIDs}}
keyIDs: external
{{- end}}
{{- if .Removed}}
removed: true
{{- end}}
{{- range .Sets}}
{{.Name}}:
  keys:
{{- range .Keys}}
  - {{.}}
{{- end}}
{{- end}}
{{- if .RevokedKeys}}
revokedKeys:
{{- range .RevokedKeys}}
- {{.}}
{{- end}}
{{- end}}
`))

type templateSet struct {
	Name string
	Keys []string
}

// Encode writes the file that ParseCluster reads, with comments for the person who keeps it.
func (c Cluster) Encode() []byte {
	var sets []templateSet
	for _, s := range []struct {
		name string
		set  jwks.Set
	}{{"bootstrapKeys", c.BootstrapKeys}, {"snapshotKeys", c.SnapshotKeys}, {"announcedKeys", c.AnnouncedKeys}} {
		if len(s.set) > 0 {
			sets = append(sets, templateSet{s.name, lines(s.set)})
		}
	}
	view := struct {
		Cluster
		APIVersion  string
		Sets        []templateSet
		RevokedKeys []string
	}{c, settings.APIVersion, sets, quote(c.RevokedKeys)}
	var b bytes.Buffer
	if err := clusterTemplate.Execute(&b, view); err != nil {
		panic("enrollment: a cluster's file can't be written: " + err.Error())
	}
	return b.Bytes()
}

// lines are JWKs as JSON, which is YAML too.
func lines(set jwks.Set) []string {
	all := make([]string, len(set))
	for i, key := range set {
		data, err := key.MarshalJSON()
		if err != nil {
			panic("enrollment: a key that was parsed can't be written: " + err.Error())
		}
		all[i] = string(data)
	}
	return all
}

func quote(ids []string) []string {
	quoted := make([]string, len(ids))
	for i, id := range ids {
		data, _ := json.Marshal(id) // a string always can be
		quoted[i] = string(data)
	}
	return quoted
}
