package vault

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
	"sync"

	"github.com/rogpeppe/go-internal/lockedfile"
)

const (
	server       = "vault"
	serverModule = "github.com/hashicorp/vault"
)

// build builds the server, once for a test process.
var build = sync.OnceValues(func() (string, error) { return Binary(os.Stderr) })

// Binary returns the path of vault, building it first if this machine has not; `-tags minimal` leaves out what needs other people's clouds, and keeps
// the JWT auth method. It stays in the user's cache folder, named after everything that decides its content. Several processes may call it at once:
// one builds, the others wait.
func Binary(progress io.Writer) (string, error) {
	// A module cannot embed files of one nested in it, so the Go tool says where the sources are.
	root, err := goTool("", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", fmt.Errorf("find this module's source: %w", err)
	}
	source := filepath.Join(root, "test", "vault", "binaries")
	folder, err := cacheFolder(source)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the cache folder of %s (set XDG_CACHE_HOME to move it): %w", server, err)
	}
	unlock, err := lockedfile.MutexAt(folder + ".lock").Lock()
	if err != nil {
		return "", fmt.Errorf("lock the cache folder of %s: %w", server, err)
	}
	defer unlock()
	binary := filepath.Join(folder, server)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintf(progress, "building %s from source, about 8 CPU-minutes, once\n", server)
	_, err = goTool(source, "build", "-tags", "minimal", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", binary+".part", serverModule)
	if err != nil {
		return "", fmt.Errorf("build %s (needs a module proxy the first time; see `go env GOPROXY`): %w", server, err)
	}
	return binary, os.Rename(binary+".part", binary)
}

// cacheFolder names the folder after what decides the server's content.
func cacheFolder(source string) (string, error) {
	hash := sha256.New()
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return "", fmt.Errorf("read the version of %s: %w", server, err)
		}
		fmt.Fprintf(hash, "%d %s", len(content), content)
	}
	version, err := goTool(source, "env", "GOVERSION")
	if err != nil {
		return "", fmt.Errorf("ask the Go tool for its version: %w", err)
	}
	fmt.Fprintf(hash, "%s %s %s", version, runtime.GOOS, runtime.GOARCH)
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache folder (set XDG_CACHE_HOME): %w", err)
		}
	}
	return filepath.Join(cache, "kube-iam-assume", "vault-"+hex.EncodeToString(hash.Sum(nil))[:16]), nil
}

// goTool runs the Go tool, in the working directory if folder is empty, and returns what it prints without the final newline. What
// a caller sets for his own builds changes nothing here.
func goTool(folder string, arguments ...string) (string, error) {
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	command := exec.Command(tool, arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	if folder != "" {
		command.Env = append(command.Env, "PWD="+folder)
	}
	output, err := command.Output()
	if failed := new(exec.ExitError); errors.As(err, &failed) {
		lines := strings.Split(strings.TrimSpace(string(failed.Stderr)), "\n")
		return "", fmt.Errorf("go %s: %w: %s", arguments[0], err, strings.Join(lines[max(0, len(lines)-5):], "\n"))
	}
	return strings.TrimSuffix(string(output), "\n"), err
}
