// Package fromsource builds programs that tests want the real ones of from source, once per version: Kubernetes, servers of the
// clouds' storage, Helm, Vault.
//
// It needs the Go tool and a module proxy, nothing else. The versions are those of nested modules, which keep the programs'
// own dependencies out of ours. What was built stays in the user's cache folder, named after everything that decides its
// content, so a second call costs one `go list`.
package fromsource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// A Set is the programs of one nested module, which are built together.
type Set struct {
	name     string // of its folder in the cache, before the hash
	module   string // the nested module's folder, relative to ours
	programs []program
}

// A program is one binary of the nested module.
type program struct {
	name    string
	module  string // decides the version
	pkg     string
	cost    string // CPU time of a cold build, measured
	version bool   // stamped with the -X flags Kubernetes reports its version by
	tags    string // of the build
}

// AWS is versitygw, a server of S3, IAM and STS that has nothing to do with Amazon's.
var AWS = Set{name: "aws", module: "test/aws/binaries", programs: []program{
	{
		name: "versitygw", module: "github.com/versity/versitygw", pkg: "github.com/versity/versitygw/cmd/versitygw",
		cost: "2 CPU-minutes",
	},
}}

// GCP is fake-gcs-server, a server of Cloud Storage.
var GCP = Set{name: "gcp", module: "test/gcp/binaries", programs: []program{
	{name: "fake-gcs-server", module: "github.com/fsouza/fake-gcs-server", pkg: "github.com/fsouza/fake-gcs-server", cost: "2 CPU-minutes"},
}}

// Chart is what judges the Helm chart.
var Chart = Set{name: "chart", module: "test/chart/binaries", programs: []program{
	{name: "helm", module: "helm.sh/helm/v4", pkg: "helm.sh/helm/v4/cmd/helm", cost: "4 CPU-minutes"},
	{name: "kubeconform", module: "github.com/yannh/kubeconform", pkg: "github.com/yannh/kubeconform/cmd/kubeconform", cost: "4 CPU-seconds"},
}}

// Vault is Vault's server without what needs other people's clouds; its JWT auth method is in it.
var Vault = Set{name: "vault", module: "test/vault/binaries", programs: []program{
	{name: "vault", module: "github.com/hashicorp/vault", pkg: "github.com/hashicorp/vault", cost: "8 CPU-minutes", tags: "minimal"},
}}

// Binaries returns the folder that holds the executables, building them first if this machine has not. Several processes may
// call it at once: one builds, the others wait. While that takes long, a line about it goes to progress every few seconds.
func (s Set) Binaries(progress io.Writer) (string, error) {
	source, err := s.findSource()
	if err != nil {
		return "", err
	}
	folder, err := source.cacheFolder()
	if err != nil {
		return "", err
	}
	if complete(folder) {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder of %s (set XDG_CACHE_HOME to move it): %w", s, err)
	}
	waiting := startReport(progress, fmt.Sprintf("waiting for another process that builds %s", s))
	unlock, err := lockedfile.MutexAt(folder + ".lock").Lock()
	waiting.stop()
	if err != nil {
		return "", fmt.Errorf("lock the cache folder of %s: %w", s, err)
	}
	defer unlock()
	if complete(folder) {
		return folder, nil
	}
	return folder, source.buildInto(folder, progress)
}

// String names the programs, for people to read.
func (s Set) String() string {
	names := make([]string, len(s.programs))
	for i, p := range s.programs {
		names[i] = p.name
	}
	return strings.Join(names, " and ")
}

// complete says whether a folder is there; it only ever appears whole.
func complete(folder string) bool {
	_, err := os.Stat(folder)
	return err == nil
}

// A source is the nested module and the Go tool that builds it.
type source struct {
	set       Set
	folder    string
	goVersion string
}

func (s Set) findSource() (source, error) {
	folder, err := nested(s.module)
	if err != nil {
		return source{}, err
	}
	found := source{set: s, folder: folder}
	if found.goVersion, err = goTool(found.folder, "env", "GOVERSION"); err != nil {
		return source{}, fmt.Errorf("ask the Go tool for its version: %w", err)
	}
	return found, nil
}

// nested is the folder of a nested module. A module cannot embed files of one nested in it, so the Go tool says where the sources are.
func nested(module string) (string, error) {
	root, err := goTool("", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("find this module's source: %w", err)
	}
	return filepath.Join(root, filepath.FromSlash(module)), nil
}

// Download returns the folder with the source of a module that a nested module requires, at that version.
func Download(nestedModule, module string) (string, error) {
	at, err := nested(nestedModule)
	if err != nil {
		return "", err
	}
	answer, err := goTool(at, "mod", "download", "-json", module)
	if err != nil {
		return "", fmt.Errorf("download %s (needs a module proxy the first time; see `go env GOPROXY`): %w", module, err)
	}
	var downloaded struct{ Dir string }
	if err := json.Unmarshal([]byte(answer), &downloaded); err != nil {
		return "", fmt.Errorf("find %s: %w", module, err)
	}
	return downloaded.Dir, nil
}

// cacheFolder names the folder after what decides its content.
func (s source) cacheFolder() (string, error) {
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(s.folder, file))
		if err != nil {
			return "", fmt.Errorf("read the version of %s: %w", s.set, err)
		}
		fmt.Fprintf(hash, "%d %s", len(content), content)
	}
	fmt.Fprintf(hash, "%s %s %s", s.goVersion, runtime.GOOS, runtime.GOARCH)
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache folder (set XDG_CACHE_HOME): %w", err)
		}
	}
	return filepath.Join(cache, "kube-iam-assume", s.set.name+"-"+hex.EncodeToString(hash.Sum(nil))[:16]), nil
}

// buildInto makes the folder appear, whole or not at all. The caller holds the lock, so what a killed build left is garbage.
func (s source) buildInto(folder string, progress io.Writer) error {
	part := folder + ".part"
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("remove an unfinished build: %w", err)
	}
	for _, p := range s.set.programs {
		if err := s.build(p, part, progress); err != nil {
			return err
		}
	}
	if err := os.Rename(part, folder); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep %s: %w", s.set, err)
	}
	return nil
}

func (s source) build(p program, folder string, progress io.Writer) error {
	version, err := goTool(s.folder, "list", "-m", "-f", "{{.Version}}", p.module)
	if err != nil {
		return fmt.Errorf("find the version of %s: %w", p.name, err)
	}
	building := startReport(progress, fmt.Sprintf("building %s %s from source, about %s, once", p.name, version, p.cost))
	defer building.stop()
	_, err = goTool(s.folder, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-tags", p.tags,
		"-ldflags", p.linkerFlags(version), "-o", filepath.Join(folder, p.name), p.pkg)
	if err != nil {
		return fmt.Errorf("build %s %s (needs a module proxy the first time; see `go env GOPROXY`): %w", p.name, version, err)
	}
	return nil
}

// linkerFlags stamps the version: built outside its own repository, Kubernetes would report a placeholder.
func (p program) linkerFlags(version string) string {
	flags := "-s -w"
	if !p.version {
		return flags
	}
	numbers := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	for _, stamp := range []string{
		"gitVersion=" + version, "gitMajor=" + numbers[0], "gitMinor=" + numbers[1], "gitTreeState=clean",
		"gitCommit=module", "buildDate=1970-01-01T00:00:00Z",
	} {
		flags += " -X k8s.io/component-base/version." + stamp
	}
	return flags
}

// goTool runs the Go tool, in the working directory if folder is empty, and returns what it prints without the final newline.
func goTool(folder string, arguments ...string) (string, error) {
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	command := exec.Command(tool, arguments...)
	command.Dir = folder
	// A workspace or the caller's build flags would change what is built. GOFLAGS is set, not emptied, since an empty one
	// lets `go env -w GOFLAGS=…` through.
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0",
		"GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	if folder != "" {
		command.Env = append(command.Env, "PWD="+folder)
	}
	output, err := command.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return "", fmt.Errorf("go %s: %w: %s", arguments[0], err, lastLines(failed.Stderr, 5))
	}
	return strings.TrimSuffix(string(output), "\n"), err
}

func lastLines(output []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
