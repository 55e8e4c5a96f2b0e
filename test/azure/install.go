package azure

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

// An installation is an Azurite that can be started.
type installation struct {
	node    string // the program that runs it
	azurite string // the script
}

// Install makes sure that the Azurite of azurite/package-lock.json is on this machine: npm fetches it once, into the user's cache, in a
// folder that is named after what decides its content. Several processes may call it at once.
func Install(progress io.Writer) error {
	_, err := install(progress)
	return err
}

func install(progress io.Writer) (installation, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return installation{}, errors.New("node is missing: install Node.js 20 or newer, which Azurite needs, from https://nodejs.org")
	}
	source, err := sourceFolder()
	if err != nil {
		return installation{}, err
	}
	folder, err := cacheFolder(source)
	if err != nil {
		return installation{}, err
	}
	found := installation{node: node, azurite: filepath.Join(folder, "node_modules", "azurite", "dist", "src", "azurite.js")}
	if isThere(found.azurite) {
		return found, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o755); err != nil {
		return installation{}, fmt.Errorf("make the cache folder of azurite (set XDG_CACHE_HOME to move it): %w", err)
	}
	unlock, err := lockedfile.MutexAt(folder + ".lock").Lock()
	if err != nil {
		return installation{}, fmt.Errorf("lock the cache folder of azurite: %w", err)
	}
	defer unlock()
	if isThere(found.azurite) { // by another process
		return found, nil
	}
	fmt.Fprintf(progress, "installing azurite into %s (365 MB, a minute, once)\n", folder)
	return found, fetch(source, folder)
}

// fetch makes the folder appear, whole or not at all. The caller holds the lock, so what a killed run left is garbage.
func fetch(source, folder string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("npm is missing: install Node.js 20 or newer with npm, which fetches Azurite, from https://nodejs.org")
	}
	part := folder + ".part"
	if err := errors.Join(os.RemoveAll(part), os.Mkdir(part, 0o755)); err != nil {
		return fmt.Errorf("make a folder for azurite: %w", err)
	}
	for _, file := range pinned {
		content, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return fmt.Errorf("read what pins azurite: %w", err)
		}
		if err := os.WriteFile(filepath.Join(part, file), content, 0o600); err != nil {
			return fmt.Errorf("write what pins azurite: %w", err)
		}
	}
	// Scripts of packages are not run: Azurite needs none of them.
	command := exec.Command(npm, "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error",
		"--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
	command.Dir = part
	if output, err := command.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("npm ci of azurite: %w: if the registry can't be reached, set one that can (npm config set registry ...). npm said: %s",
			err, strings.Join(lines[:min(3, len(lines))], " "))
	}
	if err := os.Rename(part, folder); err != nil {
		return fmt.Errorf("keep azurite: %w", err)
	}
	return nil
}

// pinned are the files that say what is installed.
var pinned = []string{"package.json", "package-lock.json"}

// sourceFolder asks the Go tool, since a test runs in its own package's folder.
func sourceFolder() (string, error) {
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	root, err := exec.Command(tool, "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("find this module's source: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "test", "azure", "azurite"), nil
}

func cacheFolder(source string) (string, error) {
	hash := sha256.New()
	for _, file := range pinned {
		content, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return "", fmt.Errorf("read what pins azurite: %w", err)
		}
		fmt.Fprintf(hash, "%d %s", len(content), content)
	}
	fmt.Fprintf(hash, "%s %s", runtime.GOOS, runtime.GOARCH)
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		var err error
		if cache, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache folder (set XDG_CACHE_HOME): %w", err)
		}
	}
	return filepath.Join(cache, "kube-iam-assume", "azurite-"+hex.EncodeToString(hash.Sum(nil))[:16]), nil
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
