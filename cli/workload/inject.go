package workload

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxBytes is the largest file that is read.
const MaxBytes = 4 << 20

// ErrFile means that a file is not YAML that can be added to.
var ErrFile = errors.New("can't add to this file")

// Options say what is added where.
type Options struct {
	Expiration int      // of tokens, in seconds
	Containers []string // only these; all, those that run at the start included, if empty
}

// A Result is a file with what was added.
type Result struct {
	File    []byte
	Changed []string // kind/name of what was added to
	Notes   []string
}

// boundary is a line that ends a document and begins another. A YAML document can have none in it, not even in a text.
var boundary = regexp.MustCompile(`(?m)^---([ \t].*)?\r?$`)

// Inject adds a login to every workload of a file. The errors are ErrFile and ErrLogin.
func Inject(file []byte, login Login, options Options) (Result, error) {
	if len(file) > MaxBytes {
		return Result{}, fmt.Errorf("%w: more than %d bytes", ErrFile, MaxBytes)
	}
	if options.Expiration < 600 || options.Expiration > 86400 {
		return Result{}, fmt.Errorf("%w life time of %d seconds: want 600 (Kubernetes takes no less) to 86400 (Google takes no more)", ErrLogin, options.Expiration)
	}
	in := &injector{login: login, options: options}
	var out bytes.Buffer
	start := 0
	for _, end := range append(boundary.FindAllIndex(file, -1), []int{len(file), len(file)}) {
		document, err := in.document(file[start:end[0]])
		if err != nil {
			return Result{}, fmt.Errorf("%w: %w", ErrFile, err)
		}
		out.Write(document)
		out.Write(file[end[0]:end[1]])
		start = end[1]
	}
	if in.workloads == 0 {
		return Result{}, fmt.Errorf("%w: there is no workload in it: no Pod, and nothing with spec.template.spec.containers", ErrFile)
	}
	for _, name := range options.Containers {
		if !slices.Contains(in.seen, name) {
			return Result{}, fmt.Errorf("%w: no workload has a container %q", ErrFile, name)
		}
	}
	if err := in.addConfigMaps(&out); err != nil {
		return Result{}, err
	}
	return Result{out.Bytes(), in.changed, in.notes}, nil
}

// injector goes through the documents of one file.
type injector struct {
	login      Login
	options    Options
	workloads  int
	changed    []string
	notes      []string
	seen       []string // names of containers
	namespaces []string // that workloads are in
	configMaps []string // namespace/name of those in the file
}

// document is one document with the login added, or as it was.
func (in *injector) document(source []byte) ([]byte, error) {
	var root yaml.Node
	if err := yaml.Unmarshal(source, &root); err != nil {
		return nil, err
	}
	if len(root.Content) == 0 {
		return source, nil
	}
	changed, err := in.object(root.Content[0])
	if err != nil || !changed {
		return source, err
	}
	var out bytes.Buffer
	if leading := source[:len(source)-len(bytes.TrimLeft(source, "\r\n"))]; len(leading) > 0 {
		out.WriteByte('\n') // that ends the line with the boundary
	}
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if compact(source) {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(&root); err != nil {
		return nil, err
	}
	return out.Bytes(), encoder.Close()
}

var compactList = regexp.MustCompile(`(?m)^( *)[A-Za-z]+:[ \t]*(#.*)?\r?\n( *)- `)

// compact reports whether the first list is not indented under its key, so that what is added looks like the rest.
func compact(source []byte) bool {
	found := compactList.FindSubmatch(source)
	return found != nil && len(found[1]) == len(found[3])
}

// object adds to a workload, or to the items of a list.
func (in *injector) object(o *yaml.Node) (bool, error) {
	kind := text(o, "kind")
	if kind == "ConfigMap" {
		return in.configMap(o)
	}
	if items := member(o, "items"); strings.HasSuffix(kind, "List") && items != nil && items.Kind == yaml.SequenceNode {
		changed := false
		for _, item := range items.Content {
			added, err := in.object(item)
			if err != nil {
				return false, err
			}
			changed = changed || added
		}
		return changed, nil
	}
	spec := podSpec(o, kind)
	if member(spec, "containers") == nil {
		return false, nil
	}
	name := kind + "/" + text(member(o, "metadata"), "name")
	if hasAlias(spec) {
		return false, fmt.Errorf("%s: its pods' specification has anchors or aliases: write the values out", name)
	}
	in.workloads++
	if namespace := text(member(o, "metadata"), "namespace"); !slices.Contains(in.namespaces, namespace) {
		in.namespaces = append(in.namespaces, namespace)
	}
	changed, err := in.pod(name, spec)
	if err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if changed {
		in.changed = append(in.changed, name)
	}
	return changed, nil
}

// podSpec is where an object has its pods' specification; other people's kinds that have it where a Deployment does are as good.
func podSpec(o *yaml.Node, kind string) *yaml.Node {
	switch kind {
	case "Pod":
		return descend(o, "spec")
	case "CronJob":
		return descend(o, "spec", "jobTemplate", "spec", "template", "spec")
	case "PodTemplate":
		return descend(o, "template", "spec")
	}
	return descend(o, "spec", "template", "spec")
}

func (in *injector) pod(name string, spec *yaml.Node) (bool, error) {
	if text(spec, "serviceAccountName") == "" && text(spec, "serviceAccount") == "" {
		in.note("warning: %s names no serviceAccountName: its pods run as the account default, which every pod of the namespace that names none does.", name)
	}
	changed := false
	for _, list := range []string{"initContainers", "containers"} {
		containers := member(spec, list)
		if containers == nil {
			continue
		}
		if containers.Kind != yaml.SequenceNode {
			return false, fmt.Errorf("line %d: %s is no list", containers.Line, list)
		}
		for _, container := range containers.Content {
			added, err := in.container(name, container)
			if err != nil {
				return false, err
			}
			changed = changed || added
		}
	}
	added, err := in.volumes(spec)
	return changed || added, err
}

func (in *injector) container(workload string, c *yaml.Node) (bool, error) {
	name := text(c, "name")
	if name == "" {
		return false, fmt.Errorf("line %d: a container without a name", c.Line)
	}
	in.seen = append(in.seen, name)
	if len(in.options.Containers) > 0 && !slices.Contains(in.options.Containers, name) {
		return false, nil
	}
	variables, err := sequence(c, "env")
	if err != nil {
		return false, err
	}
	changed := false
	for _, variable := range in.login.Variables {
		added, err := put(variables, "name", variable.Name, variable)
		if err != nil {
			return false, err
		}
		changed = changed || added
	}
	for _, rival := range in.login.Rivals {
		if element(variables, "name", rival) != nil {
			in.note("warning: container %s of %s has %s, which is taken before the token: remove it.", name, workload, rival)
		}
	}
	added, err := in.mounts(c)
	return changed || added, err
}

// mount is a volumeMount as it is written.
type mount struct {
	Name      string `yaml:"name"`
	MountPath string `yaml:"mountPath"`
	ReadOnly  bool   `yaml:"readOnly"`
}

func (in *injector) mounts(container *yaml.Node) (bool, error) {
	list, err := sequence(container, "volumeMounts")
	if err != nil {
		return false, err
	}
	wanted := []mount{{in.login.Volume, in.login.Folder, true}}
	if in.login.ConfigMap != nil {
		wanted = append([]mount{{in.login.ConfigMap.Name, in.login.ConfigMap.Folder, true}}, wanted...)
	}
	changed := false
	for _, m := range wanted {
		if other := element(list, "mountPath", m.MountPath); other != nil && text(other, "name") != m.Name {
			return false, fmt.Errorf("line %d: the volume %s is mounted at %s already: move it elsewhere", other.Line, text(other, "name"), m.MountPath)
		}
		added, err := put(list, "name", m.Name, m)
		if err != nil {
			return false, err
		}
		changed = changed || added
	}
	return changed, nil
}

func (in *injector) volumes(spec *yaml.Node) (bool, error) {
	list, err := sequence(spec, "volumes")
	if err != nil {
		return false, err
	}
	changed := false
	if file := in.login.ConfigMap; file != nil {
		changed, err = put(list, "name", file.Name, configMapVolume(file.Name))
		if err != nil {
			return false, err
		}
	}
	added, err := put(list, "name", in.login.Volume, tokenVolume(in.login, in.options.Expiration))
	return changed || added, err
}

func (in *injector) note(format string, args ...any) {
	in.notes = append(in.notes, fmt.Sprintf(format, args...))
}
