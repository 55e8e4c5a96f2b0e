package migrate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

// errPatch means that a patch, tried here, did not make what it is for.
var errPatch = errors.New("no patch makes this change")

// patches are the ways there and back. Each is tried before it is printed.
func (w *Workload) patches(before, switched, finished *core.PodTemplateSpec) error {
	for _, step := range []struct {
		from, to *core.PodTemplateSpec
		there    *json.RawMessage
		back     *json.RawMessage
	}{{before, switched, &w.Switch, &w.UndoSwitch}, {switched, finished, &w.Finish, &w.UndoFinish}} {
		if equalTemplates(step.from, step.to) {
			continue
		}
		var err error
		if *step.there, err = patch(w.Kind, step.from, step.to); err != nil {
			return err
		}
		if *step.back, err = patch(w.Kind, step.to, step.from); err != nil {
			return err
		}
	}
	return nil
}

// patch is a strategic merge patch of an object of this kind. The order of lists is in it only where the result would not have it otherwise.
func patch(kind string, from, to *core.PodTemplateSpec) (json.RawMessage, error) {
	before, after := encode(from), encode(to)
	full, err := strategicpatch.CreateTwoWayMergePatch(before, after, core.PodTemplateSpec{})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPatch, err)
	}
	short := encode(unordered(full))
	for _, candidate := range []json.RawMessage{short, full} {
		if makes(before, candidate, to) {
			return encode(nest(kind, candidate)), nil
		}
	}
	return nil, errPatch
}

func makes(before, candidate json.RawMessage, wanted *core.PodTemplateSpec) bool {
	result, err := strategicpatch.StrategicMergePatch(before, candidate, core.PodTemplateSpec{})
	var got core.PodTemplateSpec
	return err == nil && json.Unmarshal(result, &got) == nil && equalTemplates(&got, wanted)
}

// unordered is a patch without the lists' order.
func unordered(patch []byte) any {
	var v any
	if json.Unmarshal(patch, &v) != nil {
		return json.RawMessage(patch)
	}
	strip(v)
	return v
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if strings.HasPrefix(key, "$setElementOrder/") {
				delete(v, key)
				continue
			}
			strip(member)
		}
	case []any:
		for _, member := range v {
			strip(member)
		}
	}
}
