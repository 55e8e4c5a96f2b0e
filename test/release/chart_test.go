package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
)

const chart = root + "/deploy/helm/kube-iam-assume"

// checkChart: Helm takes the package for what itself makes of the folder.
func checkChart(t *testing.T, packed string) {
	t.Helper()
	values := filepath.Join(chart, "examples/several.yaml")
	folder := t.TempDir()
	helm(t, "package", chart, "--version", "1.2.3-rc.1", "--app-version", "1.2.3-rc.1", "--destination", folder)
	ours, theirs := unpack(t, packed), unpack(t, filepath.Join(folder, filepath.Base(packed)))
	for name, content := range theirs {
		if name != "kube-iam-assume/Chart.yaml" && !bytes.Equal(content, ours[name]) { // which Helm writes anew
			t.Errorf("%s is not as Helm packs it", name)
		}
		delete(ours, name)
	}
	for name := range ours {
		t.Errorf("Helm does not pack %s", name)
	}
	helm(t, "lint", "--strict", "--namespace", "kube-iam-assume", "--values", values, packed)
	render := func(chart string) string {
		return helm(t, "template", "release", chart, "--namespace", "kube-iam-assume", "--values", values)
	}
	got := render(packed)
	if want := render(filepath.Join(folder, filepath.Base(packed))); got != want {
		t.Errorf("the package renders\n%s\nHelm's own\n%s", got, want)
	}
	for _, line := range []string{`image: "ghcr.io/kube-iam-assume/cluster-exporter:1.2.3-rc.1"`, `helm.sh/chart: kube-iam-assume-1.2.3-rc.1`} {
		if !regexp.MustCompile(regexp.QuoteMeta(line)).MatchString(got) {
			t.Errorf("no %s in what the package renders", line)
		}
	}
}

func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(in); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = content
	}
}

func helm(t *testing.T, arguments ...string) string {
	t.Helper()
	binaries, err := fromsource.Chart.Binaries(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), filepath.Join(binaries, "helm"), arguments...)
	home := t.TempDir()
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	var problems bytes.Buffer
	command.Stderr = &problems
	out, err := command.Output()
	if err != nil {
		t.Fatalf("helm %v: %v\n%s%s", arguments, err, out, problems.String())
	}
	return string(out)
}
