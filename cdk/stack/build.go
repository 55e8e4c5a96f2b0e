package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cdk/stackfile"
)

// ErrBuild means that the function could not be compiled.
var ErrBuild = errors.New("the function was not built")

// Build makes the function's package in a directory: the Lambda binary, compiled from the source of this module in the folder root, and
// its settings. What else is in the directory goes. The same source and settings make the same bytes, so that a deploy of what is deployed changes nothing.
func Build(ctx context.Context, root, directory string, file stackfile.Stack) error {
	if err := os.RemoveAll(directory); err != nil {
		return err
	}
	for name, data := range file.Package() {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // Lambda reads the package as another user
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:gosec // as above
			return err
		}
	}
	binary, err := filepath.Abs(filepath.Join(directory, "bootstrap"))
	if err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-C", root, "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-tags", "lambda.norpc", "-o", binary, "./functions/aws") //nolint:gosec // both folders are the caller's own
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm64", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: want Go, and the source of this project in the folder %s, which has functions/aws: %w: %s", ErrBuild, root, err, strings.TrimSpace(string(out)))
	}
	return nil
}
