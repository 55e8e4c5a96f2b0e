package functionshost

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Build makes the package of functions/azure as it is deployed, for this machine, and unpacks it into a new folder. What a deploy adds,
// publisher.yaml and clusters/, is the caller's to write there.
func Build(t testing.TB) string {
	t.Helper()
	root, err := run(t, "", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		t.Fatal(err)
	}
	work, folder := t.TempDir(), t.TempDir()
	handler, archive := filepath.Join(work, "handler"), filepath.Join(work, "package.zip")
	if _, err := run(t, root, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", handler, "./functions/azure"); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, root, "run", "./functions/azure/pack", archive, handler, filepath.FromSlash("functions/azure/app")); err != nil {
		t.Fatal(err)
	}
	if err := unpack(archive, folder); err != nil {
		t.Fatal(err)
	}
	return folder
}

func run(t testing.TB, folder string, arguments ...string) (string, error) {
	t.Helper()
	tool := os.Getenv("GO") // the Makefile's choice
	if tool == "" {
		tool = "go"
	}
	command := exec.CommandContext(t.Context(), tool, arguments...)
	command.Dir = folder
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", arguments[0], err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// unpack keeps the files' modes, as the platform does.
func unpack(archive, folder string) error {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer reader.Close()
	for _, member := range reader.File {
		if err := extract(member, folder); err != nil {
			return fmt.Errorf("unpack %s: %w", member.Name, err)
		}
	}
	return nil
}

func extract(member *zip.File, folder string) error {
	if !filepath.IsLocal(member.Name) {
		return errors.New("it is not a local name")
	}
	to := filepath.Join(folder, member.Name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := member.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, member.Mode())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
