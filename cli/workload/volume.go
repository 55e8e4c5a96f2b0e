package workload

import (
	"bytes"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// The volumes as they are written, member by member.
type (
	token struct {
		Path              string `yaml:"path"`
		Audience          string `yaml:"audience"`
		ExpirationSeconds int    `yaml:"expirationSeconds"`
	}
	source struct {
		ServiceAccountToken token `yaml:"serviceAccountToken"`
	}
	projected struct {
		Sources []source `yaml:"sources"`
	}
	projectedVolume struct {
		Name      string    `yaml:"name"`
		Projected projected `yaml:"projected"`
	}
	reference struct {
		Name string `yaml:"name"`
	}
	fileVolume struct {
		Name      string    `yaml:"name"`
		ConfigMap reference `yaml:"configMap"`
	}
)

func tokenVolume(login Login, expiration int) projectedVolume {
	return projectedVolume{login.Volume, projected{[]source{{token{"token", login.Audience, expiration}}}}}
}

func configMapVolume(name string) fileVolume { return fileVolume{name, reference{name}} }

// configMapFile is a ConfigMap as it is written.
type configMapFile struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   metadata          `yaml:"metadata"`
	Data       map[string]string `yaml:"data"`
}

type metadata struct {
	Name      string `yaml:"name"`
	Namespace string `yaml:"namespace,omitempty"`
}

// configMap brings a ConfigMap that is in the file up to date, if it is the login's.
func (in *injector) configMap(o *yaml.Node) (bool, error) {
	name := text(member(o, "metadata"), "name")
	in.configMaps = append(in.configMaps, text(member(o, "metadata"), "namespace")+"/"+name)
	file := in.login.ConfigMap
	if file == nil || name != file.Name {
		return false, nil
	}
	content := descend(o, "data", file.File)
	if content == nil || content.Kind != yaml.ScalarNode {
		return false, fmt.Errorf("line %d: ConfigMap %s is of something else: choose another --config-map", o.Line, name)
	}
	if content.Value == file.Content {
		return false, nil
	}
	content.SetString(file.Content)
	in.changed = append(in.changed, "ConfigMap/"+name)
	return true, nil
}

// addConfigMaps adds the file that the cloud's SDKs read to each namespace in which workloads need it, unless it is there.
func (in *injector) addConfigMaps(out *bytes.Buffer) error {
	file := in.login.ConfigMap
	if file == nil {
		return nil
	}
	for _, namespace := range in.namespaces {
		if slices.Contains(in.configMaps, namespace+"/"+file.Name) {
			continue
		}
		if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteByte('\n')
		}
		out.WriteString("---\n")
		encoder := yaml.NewEncoder(out)
		encoder.SetIndent(2)
		err := encoder.Encode(configMapFile{"v1", "ConfigMap", metadata{file.Name, namespace}, map[string]string{file.File: file.Content}})
		if err != nil {
			return err
		}
		in.changed = append(in.changed, "ConfigMap/"+file.Name)
	}
	return nil
}
