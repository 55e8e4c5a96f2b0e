package fromsource

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestBinariesAreBuiltOnce(t *testing.T) {
	for _, set := range []Set{Kubernetes, AWS} {
		t.Run(set.String(), func(t *testing.T) { builtOnce(t, set) })
	}
}

func builtOnce(t *testing.T, set Set) {
	t.Helper()
	first, err := set.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	// What a caller sets for his own builds changes nothing here.
	t.Setenv("GOFLAGS", "-mod=vendor -tags=other")
	t.Setenv("GOWORK", filepath.Join(t.TempDir(), "go.work"))
	var progress bytes.Buffer
	second, err := set.Binaries(&progress)
	if err != nil || second != first || progress.Len() > 0 {
		t.Errorf("the second call: %s (first %s), %v, said %q", second, first, err, progress.String())
	}
	for _, p := range set.programs {
		if info, err := os.Stat(filepath.Join(first, p.name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s cannot be run: %v", p.name, err)
		}
	}
}

func TestFailedBuildLeavesNothingToRun(t *testing.T) {
	t.Parallel()
	empty := source{set: Kubernetes, folder: t.TempDir(), goVersion: "go1"}
	for name, content := range map[string]string{"go.mod": "module example.invalid/empty\n\ngo 1.26.0\n", "go.sum": ""} {
		if err := os.WriteFile(filepath.Join(empty.folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(t.TempDir(), "kube")
	if err := empty.buildInto(folder, os.Stderr); err == nil || !strings.Contains(err.Error(), "etcd") || complete(folder) {
		t.Errorf("got %v, and the folder is there: %t", err, complete(folder))
	}
}

func TestCacheFolderFollowsTheVersions(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", "/cache")
	ours, err := Kubernetes.findSource()
	if err != nil {
		t.Fatal(err)
	}
	one, err := ours.cacheFolder()
	if err != nil || filepath.Dir(one) != "/cache/kube-iam-assume" {
		t.Errorf("got %s, %v", one, err)
	}
	ours.goVersion += "x"
	if other, err := ours.cacheFolder(); err != nil || other == one {
		t.Errorf("another Go version has the same folder %s, %v", other, err)
	}
}

// The environment chooses the Kubernetes; an unknown one is refused by name, with those that there are.
func TestChosenKubernetes(t *testing.T) {
	for minor, module := range map[string]string{"": "test/kube/binaries", "1.36": "test/kube/binaries", "1.35": "test/kube/versions/1.35", "1.30": "test/kube/versions/1.30"} {
		t.Setenv(KubernetesVariable, minor)
		if chosen, err := ChosenKubernetes(); err != nil || chosen.Module != module {
			t.Errorf("%q: %+v, %v", minor, chosen, err)
		}
	}
	for _, minor := range []string{"1.3", "1.29", "v1.35", "1.35.4", " 1.35", "../binaries"} {
		t.Setenv(KubernetesVariable, minor)
		_, err := ChosenKubernetes()
		if !errors.Is(err, ErrUnknownKubernetes) || !strings.Contains(err.Error(), strconv.Quote(minor)) || !strings.Contains(err.Error(), "1.30, 1.35, 1.36") {
			t.Errorf("%q: %v", minor, err)
		}
	}
}

// A release's module is of the minor that it is called by; the folders of the older ones are what make kube-versions goes through.
func TestReleasesAreWhatTheyAreCalled(t *testing.T) {
	t.Parallel()
	if older, err := filepath.Glob("../kube/versions/*"); err != nil || len(older) != len(releases)-1 {
		t.Errorf("folders of older releases: %v, %v", older, err)
	}
	for _, r := range releases {
		folder, err := nested(r.Module)
		if err != nil {
			t.Fatal(err)
		}
		version, err := goTool(folder, "list", "-m", "-f", "{{.Version}}", kubernetesModule)
		if err != nil || !strings.HasPrefix(version, "v"+r.Minor+".") {
			t.Errorf("%s is %s, %v", r.Minor, version, err)
		}
	}
}
