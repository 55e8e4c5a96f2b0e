package chart_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

const (
	folder    = "../../deploy/helm/kube-iam-assume"
	namespace = "kube-iam-assume"
	account   = "cluster-exporter"
)

var tools = sync.OnceValues(func() (string, error) { return fromsource.Chart.Binaries(os.Stderr) })

// tool runs helm or kubeconform, without anything of the person's who runs the tests.
func tool(t testing.TB, name string, arguments ...string) (stdout, stderr string, err error) {
	t.Helper()
	binaries, err := tools()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(binaries, name), arguments...)
	home := t.TempDir()
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	var out, problems bytes.Buffer
	command.Stdout, command.Stderr = &out, &problems
	err = command.Run()
	return out.String(), problems.String(), err
}

func helm(t testing.TB, arguments ...string) string {
	t.Helper()
	out, problems, err := tool(t, "helm", arguments...)
	if err != nil {
		t.Fatalf("helm %v: %v\n%s%s", arguments, err, out, problems)
	}
	return out
}

// manifests are what helm renders. They are also where a pod's volumes come from, with tokens that say what they are.
type manifests []*unstructured.Unstructured

func render(t testing.TB, arguments ...string) manifests {
	t.Helper()
	return parse(t, helm(t, append([]string{"template", "release", folder, "--namespace", namespace}, arguments...)...))
}

func parse(t testing.TB, text string) manifests {
	t.Helper()
	var all manifests
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(text)), 4096)
	for {
		object := &unstructured.Unstructured{}
		switch err := decoder.Decode(object); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("%v\n%s", err, text)
		case len(object.Object) > 0:
			all = append(all, object)
		}
	}
}

// as returns the one object of a kind and name.
func as[T any](t testing.TB, all manifests, kind, name string) *T {
	t.Helper()
	var found *T
	for _, object := range all {
		if object.GetKind() != kind || object.GetName() != name {
			continue
		}
		if found != nil {
			t.Fatalf("two of %s %s", kind, name)
		}
		found = new(T)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, found, true); err != nil {
			t.Fatal(err)
		}
	}
	if found == nil {
		t.Fatalf("no %s %s", kind, name)
	}
	return found
}

// ConfigMap implements pod.Source.
func (m manifests) ConfigMap(_ context.Context, name string) (map[string]string, error) {
	for _, object := range m {
		if object.GetKind() == "ConfigMap" && object.GetName() == name {
			var found core.ConfigMap
			err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &found)
			return found.Data, err
		}
	}
	return nil, fmt.Errorf("no ConfigMap %s", name)
}

// Secret implements pod.Source.
func (m manifests) Secret(_ context.Context, name string) (map[string][]byte, error) {
	return nil, fmt.Errorf("no Secret %s", name)
}

// Token implements pod.Source.
func (m manifests) Token(_ context.Context, audiences []string, seconds int64) (string, error) {
	return fmt.Sprintf("for %v, %d s", audiences, seconds), nil
}

func examples(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob(folder + "/examples/*")
	if err != nil || len(all) < 8 {
		t.Fatalf("%d examples, %v", len(all), err)
	}
	return all
}
