//go:build linux

package pod

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
)

// fill makes the root folder: the program, the hosts' names and what is mounted. Nothing but volumes can be written to.
func (p *Pod) fill(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(p.root, "etc"), 0o755); err != nil {
		return err
	}
	if err := copyProgram(p.machine.Entrypoint, filepath.Join(p.root, "entrypoint")); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n"
	for name, address := range p.machine.Hosts {
		hosts += address + " " + name + "\n"
	}
	if err := os.WriteFile(filepath.Join(p.root, "etc", "hosts"), []byte(hosts), 0o644); err != nil {
		return err
	}
	volumes := map[string]bool{}
	for _, mount := range p.spec.Containers[0].VolumeMounts {
		at := filepath.Join(p.root, mount.MountPath)
		volumes[at] = true
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		if err := p.mount(ctx, mount, at); err != nil {
			return fmt.Errorf("volume %s: %w", mount.Name, err)
		}
	}
	return filepath.WalkDir(p.root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || !d.IsDir():
			return err
		case volumes[path]:
			return fs.SkipDir
		}
		return os.Chmod(path, 0o555)
	})
}

func copyProgram(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o555)
}

func (p *Pod) mount(ctx context.Context, mount core.VolumeMount, at string) error {
	for _, volume := range p.spec.Volumes {
		if volume.Name != mount.Name {
			continue
		}
		if volume.PersistentVolumeClaim != nil {
			return nil // a new one, which is empty
		}
		files, err := p.files(ctx, volume)
		if err != nil {
			return err
		}
		return write(at, files)
	}
	return fmt.Errorf("%s is mounted, but there is no such volume", mount.Name)
}

// files are those of a volume, by path.
func (p *Pod) files(ctx context.Context, volume core.Volume) (map[string][]byte, error) {
	switch {
	case volume.ConfigMap != nil:
		return p.configMap(ctx, volume.ConfigMap.Name, volume.ConfigMap.Items)
	case volume.Secret != nil:
		return p.secret(ctx, volume.Secret.SecretName, volume.Secret.Items)
	case volume.Projected == nil:
		return nil, fmt.Errorf("volume %s is of a kind that is not played here", volume.Name)
	}
	all := map[string][]byte{}
	for _, source := range volume.Projected.Sources {
		var files map[string][]byte
		var err error
		switch {
		case source.ConfigMap != nil:
			files, err = p.configMap(ctx, source.ConfigMap.Name, source.ConfigMap.Items)
		case source.Secret != nil:
			files, err = p.secret(ctx, source.Secret.Name, source.Secret.Items)
		case source.ServiceAccountToken != nil:
			files, err = p.token(ctx, source.ServiceAccountToken)
		default:
			err = fmt.Errorf("volume %s has a source that is not played here", volume.Name)
		}
		if err != nil {
			return nil, err
		}
		maps.Copy(all, files)
	}
	return all, nil
}

func (p *Pod) configMap(ctx context.Context, name string, items []core.KeyToPath) (map[string][]byte, error) {
	data, err := p.machine.Source.ConfigMap(ctx, name)
	files := map[string][]byte{}
	for key, value := range data {
		files[key] = []byte(value)
	}
	return chosen("ConfigMap "+name, files, items, err)
}

func (p *Pod) secret(ctx context.Context, name string, items []core.KeyToPath) (map[string][]byte, error) {
	data, err := p.machine.Source.Secret(ctx, name)
	return chosen("Secret "+name, data, items, err)
}

func chosen(of string, files map[string][]byte, items []core.KeyToPath, err error) (map[string][]byte, error) {
	if err != nil || len(items) == 0 {
		return files, err
	}
	some := map[string][]byte{}
	for _, item := range items {
		value, ok := files[item.Key]
		if !ok {
			return nil, fmt.Errorf("%s has no key %s, but %v", of, item.Key, slices.Collect(maps.Keys(files)))
		}
		some[item.Path] = value
	}
	return some, nil
}

func (p *Pod) token(ctx context.Context, source *core.ServiceAccountTokenProjection) (map[string][]byte, error) {
	var audiences []string
	if source.Audience != "" {
		audiences = []string{source.Audience}
	}
	seconds := int64(3600)
	if source.ExpirationSeconds != nil {
		seconds = *source.ExpirationSeconds
	}
	token, err := p.machine.Source.Token(ctx, audiences, seconds)
	return map[string][]byte{source.Path: []byte(token)}, err
}

// Renew makes the volumes anew, as the kubelet does with tokens at four fifths of their lives.
func (p *Pod) Renew(ctx context.Context) error {
	for _, mount := range p.spec.Containers[0].VolumeMounts {
		for _, volume := range p.spec.Volumes {
			if volume.Name != mount.Name || volume.PersistentVolumeClaim != nil {
				continue
			}
			files, err := p.files(ctx, volume)
			if err != nil {
				return err
			}
			if err := write(filepath.Join(p.root, mount.MountPath), files); err != nil {
				return err
			}
		}
	}
	return nil
}

// write makes each file appear with its whole content, or keep the old one.
func write(folder string, files map[string][]byte) error {
	for name, content := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file+".part", content, 0o444); err != nil {
			return err
		}
		if err := os.Rename(file+".part", file); err != nil {
			return err
		}
	}
	return nil
}

// Claim is the folder of a persistent volume claim of a pod that runs.
func (p *Pod) Claim(name string) string {
	for _, volume := range p.spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim == nil || claim.ClaimName != name {
			continue
		}
		for _, mount := range p.spec.Containers[0].VolumeMounts {
			if mount.Name == volume.Name {
				return filepath.Join(p.root, mount.MountPath)
			}
		}
	}
	return ""
}

// environment is the container's, with what the kubelet adds.
func (p *Pod) environment(ctx context.Context, described *core.Pod, container core.Container) ([]string, error) {
	environment := append([]string{"PATH=/", "HOSTNAME=" + described.Name}, p.machine.Environment...)
	for _, variable := range container.Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			var err error
			if value, err = p.valueFrom(ctx, described, from); err != nil {
				return nil, fmt.Errorf("variable %s: %w", variable.Name, err)
			}
		}
		environment = append(environment, variable.Name+"="+value)
	}
	return environment, nil
}

func (p *Pod) valueFrom(ctx context.Context, described *core.Pod, from *core.EnvVarSource) (string, error) {
	if key := from.SecretKeyRef; key != nil {
		data, err := p.machine.Source.Secret(ctx, key.Name)
		return string(data[key.Key]), err
	}
	if from.FieldRef != nil {
		switch strings.TrimPrefix(from.FieldRef.FieldPath, "metadata.") {
		case "name":
			return described.Name, nil
		case "uid":
			return string(described.UID), nil
		case "namespace":
			return described.Namespace, nil
		}
	}
	return "", fmt.Errorf("%+v is not played here", from)
}
