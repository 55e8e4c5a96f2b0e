package release_test

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// artifacts are those of one platform: the others differ by two variables of the Go tool.
var artifacts = []string{"cluster-exporter-linux-amd64", "kube-iam-assume-standalone-linux-amd64", "kube-iam-assume-linux-amd64", "kube-iam-assume-azure.zip"}

var source = []string{".ci", "cli", "cluster-exporter", "functions", "shared", "test/standin", "deploy/helm", "deploy/release"}

// copySource makes a copy of what a release is made of.
func copySource(t *testing.T, place string) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), place)
	for _, part := range source {
		to := filepath.Join(folder, part)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(to, os.DirFS(filepath.Join(root, part))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(folder, file), read(t, filepath.Join(root, file)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// release runs the script in a copy, with what a developer's environment may hold.
func release(t *testing.T, folder, version string, artifacts ...string) (output string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "sh", append([]string{".ci/release"}, artifacts...)...)
	command.Dir = folder
	command.Env = append(os.Environ(), "VERSION="+version, "GOFLAGS=-v", "CGO_ENABLED=1", "GOARCH=amd64", "GOAMD64=v3", "TZ=Asia/Tokyo")
	out, err := command.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRelease(t *testing.T) {
	t.Parallel()
	one, other := copySource(t, "one"), copySource(t, "another/place")
	for _, folder := range []string{one, other} {
		if out, err := release(t, folder, "v1.2.3-rc.1", artifacts...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	made := filepath.Join(one, "dist/release")
	names := sameFiles(t, made, filepath.Join(other, "dist/release"))
	want := append([]string{"SHA256SUMS", "kube-iam-assume-1.2.3-rc.1.tgz", "sbom.cdx.json"}, artifacts...)
	if slices.Sort(want); !slices.Equal(names, want) {
		t.Errorf("there are %v, want %v", names, want)
	}
	checkSums(t, made, names)
	for _, name := range artifacts[:3] {
		checkProgram(t, filepath.Join(made, name))
	}
	checkBill(t, made)
	checkChart(t, filepath.Join(made, "kube-iam-assume-1.2.3-rc.1.tgz"))
}

func sameFiles(t *testing.T, one, other string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(one)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
		a, b := read(t, filepath.Join(one, entry.Name())), read(t, filepath.Join(other, entry.Name()))
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two releases of one source differ: %d and %d bytes", entry.Name(), len(a), len(b))
		}
	}
	return names
}

func checkSums(t *testing.T, folder string, names []string) {
	t.Helper()
	var want strings.Builder
	for _, name := range names {
		if name != "SHA256SUMS" {
			fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256(read(t, filepath.Join(folder, name))), name)
		}
	}
	if got := string(read(t, filepath.Join(folder, "SHA256SUMS"))); got != want.String() {
		t.Errorf("SHA256SUMS:\n%s\nwant\n%s", got, want.String())
	}
}

// checkProgram: it needs no library, says which release it is, and knows neither its builder's folders nor his repository.
func checkProgram(t *testing.T, path string) {
	t.Helper()
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if libraries, err := binary.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("%s needs %v, %v", path, libraries, err)
	}
	argument := "--version"
	if filepath.Base(path) == "kube-iam-assume-linux-amd64" {
		argument = "version"
	}
	if out, err := exec.CommandContext(t.Context(), path, argument).CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "1.2.3-rc.1" {
		t.Errorf("%s says it is %q, %v", path, out, err)
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, setting := range info.Settings {
		if strings.HasPrefix(setting.Key, "vcs") || strings.Contains(setting.Value, t.TempDir()) || setting.Key == "GOAMD64" && setting.Value != "v1" {
			t.Errorf("%s has %s=%s", path, setting.Key, setting.Value)
		}
	}
}

// checkBill compares the bill of materials with what the programs say of themselves, read once more.
func checkBill(t *testing.T, folder string) {
	t.Helper()
	var bill struct {
		BOMFormat, SpecVersion string
		Components             []struct {
			Ref      string `json:"bom-ref"`
			Name     string
			Version  string
			URL      string `json:"purl"`
			Hashes   []struct{ Alg, Content string }
			Property []struct{ Name, Value string } `json:"properties"`
		}
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(read(t, filepath.Join(folder, "sbom.cdx.json")), &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || bill.SpecVersion != "1.6" {
		t.Errorf("%s %s", bill.BOMFormat, bill.SpecVersion)
	}
	listed, hashes := map[string]string{}, map[string]string{}
	for _, c := range bill.Components {
		listed[c.Ref] = c.Name + " " + c.Version
		for _, hash := range c.Hashes {
			hashes[c.Ref] = hash.Alg + " " + hash.Content
		}
	}
	needs := map[string][]string{}
	for _, d := range bill.Dependencies {
		needs[d.Ref] = d.DependsOn
		for _, ref := range d.DependsOn {
			if listed[ref] == "" {
				t.Errorf("%s needs %s, which is no component", d.Ref, ref)
			}
		}
	}
	if len(needs) != len(artifacts) || needs["kube-iam-assume-azure.zip/handler"] == nil {
		t.Errorf("programs of %d artifacts, want %d", len(needs), len(artifacts))
	}
	for _, name := range artifacts[:3] {
		info, err := buildinfo.ReadFile(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		for _, module := range info.Deps {
			want = append(want, "pkg:golang/"+module.Path+"@"+strings.ReplaceAll(module.Version, "+", "%2B"))
		}
		if slices.Sort(want); !slices.Equal(needs[name], want) || len(want) < 5 {
			t.Errorf("%s is made of\n%v, the bill has\n%v", name, want, needs[name])
		}
		if want := fmt.Sprintf("SHA-256 %x", sha256.Sum256(read(t, filepath.Join(folder, name)))); hashes[name] != want {
			t.Errorf("%s is %s, the bill has %s", name, want, hashes[name])
		}
	}
}

// What is no version, no artifact or not committed is not released, and nothing of a release before is touched.
func TestRefusals(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	before := filepath.Join(folder, "dist/release/before")
	if err := os.MkdirAll(before, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(folder, ".ci"), os.DirFS(filepath.Join(root, ".ci"))); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ version, artifact, says string }{
		"no tag":           {"652f7c2", artifacts[0], "VERSION=v1.2.3"},
		"nothing":          {"", artifacts[0], "VERSION=v1.2.3"},
		"build metadata":   {"v1.2.3+x", artifacts[0], "VERSION=v1.2.3"}, // images' tags can't have it
		"uncommitted":      {"v1.2.3-4-gabcdef0-dirty", artifacts[0], "commit"},
		"no artifact":      {"v1.2.3", "cluster-exporter-plan9-amd64", artifacts[0]},
		"no function":      {"v1.2.3", "kube-iam-assume-oracle.zip", artifacts[0]},
		"nothing of ours":  {"v1.2.3", "passwd", artifacts[0]},
		"part of the name": {"v1.2.3", "cluster-exporter", artifacts[0]},
	} {
		out, err := release(t, folder, test.version, test.artifact)
		if err == nil || !strings.Contains(out, test.says) {
			t.Errorf("%s: %v %s", name, err, out)
		}
		if _, err := os.Stat(before); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
