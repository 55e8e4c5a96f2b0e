package migrate

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

func container(names ...string) core.Container {
	c := core.Container{Name: "app"}
	for _, name := range names {
		c.Env = append(c.Env, core.EnvVar{Name: name, Value: "v"})
		c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: name, MountPath: "/" + name})
	}
	return c
}

func template(annotation string, names ...string) *core.PodTemplateSpec {
	t := &core.PodTemplateSpec{Spec: core.PodSpec{Containers: []core.Container{container(names...)}}}
	if annotation != "" {
		t.Annotations = map[string]string{annotation: "v"}
	}
	for _, name := range names {
		t.Spec.Volumes = append(t.Spec.Volumes, core.Volume{Name: name})
	}
	return t
}

// A patch takes away what it is for, and leaves what somebody has added since the plan was made.
func TestPatchLeavesTheRest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ from, to, now, want *core.PodTemplateSpec }{
		"the last of its list": {template("role", "a"), template(""), template("role", "a", "new"), template("", "new")},
		"one of two":           {template("", "a", "b"), template("", "a"), template("", "a", "b", "new"), template("", "a", "new")},
		"the first of its list": {template(""), template("role", "a"), template("", "new"), &core.PodTemplateSpec{
			ObjectMeta: template("role").ObjectMeta, Spec: template("", "a", "new").Spec,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			patch, err := patch("PodTemplate", test.from, test.to, anyOrder)
			if err != nil {
				t.Fatal(err)
			}
			var nested struct {
				Spec struct{ Template json.RawMessage }
			}
			if err := json.Unmarshal(patch, &nested); err != nil {
				t.Fatal(err)
			}
			result, err := strategicpatch.StrategicMergePatch(encode(test.now), nested.Spec.Template, core.PodTemplateSpec{})
			if err != nil {
				t.Fatal(err)
			}
			var got core.PodTemplateSpec
			if err := json.Unmarshal(result, &got); err != nil {
				t.Fatal(err)
			}
			if !anyOrder(&got, test.want) {
				t.Errorf("%s\n%s", patch, cmp.Diff(test.want, &got))
			}
		})
	}
}

// An added variable may refer to one before it, so the way back keeps the order.
func TestPatchKeepsTheOrder(t *testing.T) {
	t.Parallel()
	from, to := template("", "b"), template("", "a", "b", "c")
	if _, err := patch("Deployment", from, to, equalTemplates); err != nil {
		t.Error(err)
	}
	if _, err := patch("Deployment", from, to, func(_, _ *core.PodTemplateSpec) bool { return false }); err == nil {
		t.Error("a patch that makes something else was printed")
	}
}
