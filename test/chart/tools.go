// Package chart proves the Helm chart: rendered by the real Helm, judged by schemas made of Kubernetes' own API description, applied to
// real API servers that enforce its rights and policies, and run, as far as a machine without containers can, from what was rendered.
package chart

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// programs are what the nested module builds. Their versions are in its go.mod.
var programs = map[string]string{
	"helm":        "helm.sh/helm/v4/cmd/helm",                     // 3.5 CPU-minutes, once
	"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform", // 4 s
}

// Tools returns the folder that holds helm and kubeconform, building them first if this machine has not. Several processes may call it at
// once: one builds, the others wait. What was built stays in the user's cache folder, named after all that decides its content.
func Tools(progress io.Writer) (string, error) {
	source, err := nestedModule("test/chart/binaries")
	if err != nil {
		return "", err
	}
	folder, err := cacheFolder(source)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(folder); err == nil { // it only ever appears whole
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder of helm (set XDG_CACHE_HOME to move it): %w", err)
	}
	unlock, err := lockedfile.MutexAt(folder + ".lock").Lock()
	if err != nil {
		return "", fmt.Errorf("lock the cache folder of helm: %w", err)
	}
	defer unlock()
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	fmt.Fprintln(progress, "building helm and kubeconform from source, about 4 CPU-minutes, once")
	return folder, buildInto(folder, source)
}

func buildInto(folder, source string) error {
	part := folder + ".part"
	if err := os.RemoveAll(part); err != nil {
		return fmt.Errorf("remove an unfinished build: %w", err)
	}
	for name, pkg := range programs {
		_, err := goTool(source, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(part, name), pkg)
		if err != nil {
			return fmt.Errorf("build %s (needs a module proxy the first time; see `go env GOPROXY`): %w", name, err)
		}
	}
	return os.Rename(part, folder)
}

// nestedModule finds a module's source: one cannot embed files of another that is nested in it.
func nestedModule(path string) (string, error) {
	root, err := goTool("", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("find this module's source: %w", err)
	}
	return filepath.Join(root, filepath.FromSlash(path)), nil
}

func cacheFolder(source string) (string, error) {
	version, err := goTool(source, "env", "GOVERSION")
	if err != nil {
		return "", fmt.Errorf("ask the Go tool for its version: %w", err)
	}
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return "", fmt.Errorf("read the version of helm: %w", err)
		}
		fmt.Fprintf(hash, "%d %s", len(content), content)
	}
	fmt.Fprintf(hash, "%s %s %s", version, runtime.GOOS, runtime.GOARCH)
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache folder (set XDG_CACHE_HOME): %w", err)
		}
	}
	return filepath.Join(cache, "kube-iam-assume", "chart-"+hex.EncodeToString(hash.Sum(nil))[:16]), nil
}

// goTool runs the Go tool in a folder, or in the working directory, and returns what it prints without the final newline.
func goTool(folder string, arguments ...string) (string, error) {
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	command := exec.Command(tool, arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	output, err := command.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		return "", fmt.Errorf("go %s: %w: %s", arguments[0], err, failed.Stderr)
	}
	return strings.TrimSuffix(string(output), "\n"), err
}
