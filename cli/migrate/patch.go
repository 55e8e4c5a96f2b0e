package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// errPatch means that a patch, tried here, did not make what it is for.
var errPatch = errors.New("no patch makes this change")

// patches are the ways there and back. Each is tried before it is printed.
func (w *Workload) patches(before, switched, finished *core.PodTemplateSpec) error {
	for _, step := range []struct {
		from, to    *core.PodTemplateSpec
		there, back *json.RawMessage
	}{{before, switched, &w.Switch, &w.UndoSwitch}, {switched, finished, &w.Finish, &w.UndoFinish}} {
		if equalTemplates(step.from, step.to) {
			continue
		}
		var err error
		if *step.there, err = patch(w.Kind, step.from, step.to, anyOrder); err != nil {
			return err
		}
		if *step.back, err = patch(w.Kind, step.to, step.from, equalTemplates); err != nil {
			return err
		}
	}
	return nil
}

// patch is a strategic merge patch of an object of this kind. The order of lists is in it only where the result would not be right otherwise.
func patch(kind string, from, to *core.PodTemplateSpec, right func(a, b *core.PodTemplateSpec) bool) (json.RawMessage, error) {
	full, err := strategicpatch.CreateTwoWayMergePatch(encode(propped(from)), encode(propped(to)), core.PodTemplateSpec{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPatch, err)
	}
	for _, ordered := range []bool{false, true} {
		var candidate any
		if err := json.Unmarshal(full, &candidate); err != nil {
			return nil, err
		}
		clean(candidate, ordered)
		result, err := strategicpatch.StrategicMergePatch(encode(from), encode(candidate), core.PodTemplateSpec{})
		var got core.PodTemplateSpec
		if err == nil && json.Unmarshal(result, &got) == nil && right(&got, to) {
			return encode(nest(kind, candidate)), nil
		}
	}
	return nil, errPatch
}

// prop is an element that both sides of a comparison have, so that no list or map of the patch is null: that would take away what somebody else has
// added to it since.
const prop = "kube-iam-assume-prop"

func propped(template *core.PodTemplateSpec) *core.PodTemplateSpec {
	t := template.DeepCopy()
	if t.Annotations == nil {
		t.Annotations = map[string]string{}
	}
	t.Annotations[prop] = ""
	t.Spec.Volumes = append(t.Spec.Volumes, core.Volume{Name: prop})
	eachContainer(&t.Spec, func(c *core.Container) {
		c.Env = append(c.Env, core.EnvVar{Name: prop})
		c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: prop, MountPath: prop})
	})
	return t
}

// clean takes the props out of a patch, and with them the lists' order unless it is wanted.
func clean(v any, ordered bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if order, list := member.([]any); list && strings.HasPrefix(key, "$setElementOrder/") {
				v[key] = slices.DeleteFunc(order, isProp)
				if !ordered {
					delete(v, key)
				}
				continue
			}
			clean(member, ordered)
		}
	case []any:
		for _, member := range v {
			clean(member, ordered)
		}
	}
}

func isProp(element any) bool {
	o, _ := element.(map[string]any)
	return o["name"] == prop || o["mountPath"] == prop
}

func equalTemplates(a, b *core.PodTemplateSpec) bool {
	var x, y any
	return json.Unmarshal(encode(a), &x) == nil && json.Unmarshal(encode(b), &y) == nil && reflect.DeepEqual(x, y)
}

// anyOrder is for patches that add: volumes have no order, and variables that are added name no other.
func anyOrder(a, b *core.PodTemplateSpec) bool { return equalTemplates(sorted(a), sorted(b)) }

func sorted(template *core.PodTemplateSpec) *core.PodTemplateSpec {
	t := template.DeepCopy()
	slices.SortFunc(t.Spec.Volumes, func(a, b core.Volume) int { return strings.Compare(a.Name, b.Name) })
	eachContainer(&t.Spec, func(c *core.Container) {
		slices.SortFunc(c.Env, func(a, b core.EnvVar) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(c.VolumeMounts, func(a, b core.VolumeMount) int { return strings.Compare(a.MountPath, b.MountPath) })
	})
	return t
}
