package chart_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/test/chart/pod"
)

// foreign are objects that an example expects beside the chart's own.
type foreign struct{ manifests }

func (f foreign) ConfigMap(ctx context.Context, name string) (map[string]string, error) {
	switch name {
	case "kube-root-ca.crt":
		return map[string]string{"ca.crt": "-----BEGIN CERTIFICATE-----"}, nil
	case "company-authorities":
		return map[string]string{"ca.pem": "-----BEGIN CERTIFICATE-----"}, nil
	}
	return f.manifests.ConfigMap(ctx, name)
}

func (f foreign) Secret(ctx context.Context, name string) (map[string][]byte, error) {
	if name == "proxy" {
		return map[string][]byte{"url": []byte("http://me:secret@proxy.example.com:3128")}, nil
	}
	return f.manifests.Secret(ctx, name)
}

// Every example's exporter is started with the arguments, variables and files that were rendered, and looks at its settings; so is the pod of
// `helm test`, which has nothing else.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "cluster-exporter")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "github.com/kube-iam-assume/kube-iam-assume/cluster-exporter")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, example := range examples(t) {
		if filepath.Base(example) == "publisher.yaml" {
			continue // without an exporter
		}
		t.Run(filepath.Base(example), func(t *testing.T) {
			t.Parallel()
			all := render(t, "--values", example)
			spec := as[apps.Deployment](t, all, "Deployment", account).Spec.Template.Spec
			spec.Containers[0].Args = append(spec.Containers[0].Args, "--check")
			for name, spec := range map[string]core.PodSpec{"deployment": spec, "test": as[core.Pod](t, all, "Pod", account+"-check").Spec} {
				p := pod.Start(t, pod.Machine{Entrypoint: binary, Source: foreign{all}}, &core.Pod{ObjectMeta: meta.ObjectMeta{Name: name}, Spec: spec})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				succeeded, err := p.Wait(ctx)
				if err != nil || !succeeded || !strings.Contains(p.Output(t), "The settings are right: cluster prod-eu1") {
					t.Errorf("%s: %v\n%s", name, err, p.Output(t))
				}
			}
		})
	}
}
