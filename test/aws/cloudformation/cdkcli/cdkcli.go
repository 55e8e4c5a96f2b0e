// Package cdkcli runs the real CDK command line for tests: the one that cdk/package.json pins, as `npm ci` installs it.
package cdkcli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// patience is more than a command takes; the CLI itself waits for ever.
const patience = 4 * time.Minute

// CLI is the command with its environment.
type CLI struct {
	program string
	folder  string // where it is run: an assembly's parent, or where cdk.json is
	env     []string
}

// New finds the command. Its environment is env and what Node and Go need to run, and nothing that would lead it to a cloud. As npx does, it
// puts the programs that package.json pins before others: Node is one of them.
func New(folder string, env []string) (*CLI, error) {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..", "..")
	programs, err := filepath.Abs(filepath.Join(root, "cdk", "node_modules", ".bin"))
	if err != nil {
		return nil, err
	}
	program := filepath.Join(programs, "cdk")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the CDK's command line is not installed: run npm ci in %s", filepath.Join(root, "cdk"))
	}
	env = append(env, "PATH="+programs+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, name := range []string{"HOME", "TMPDIR", "XDG_CACHE_HOME", "GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return &CLI{program, folder, env}, nil
}

// Run runs a command such as deploy, and returns what it printed. A command that fails is an error as well.
func (c *CLI) Run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	command := exec.CommandContext(ctx, c.program, append(args, "--ci", "--no-color", "--no-notices")...)
	command.Dir, command.Env, command.WaitDelay = c.folder, c.env, 10*time.Second
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	var printed bytes.Buffer
	command.Stdout, command.Stderr = &printed, &printed
	command.SysProcAttr = process.EndWithParent()
	runtime.LockOSThread() // Linux ends such a child with the thread that made it
	defer runtime.UnlockOSThread()
	err := command.Run()
	if err != nil {
		err = fmt.Errorf("cdk %q: %w", args, err)
	}
	return printed.String(), err
}

// WriteAssembly writes what `cdk synth` would, for a stack of one template, so that it can be deployed with --app.
func WriteAssembly(folder, stack, account, region, template string) error {
	name := stack + ".template.json"
	key := fmt.Sprintf("%x.json", sha256.Sum256([]byte(template))) // the CLI uploads no key twice
	role := func(purpose string) string {
		return fmt.Sprintf("arn:${AWS::Partition}:iam::%s:role/cdk-hnb659fds-%s-role-%s-%s", account, purpose, account, region)
	}
	bucket := fmt.Sprintf("cdk-hnb659fds-assets-%s-%s", account, region)
	manifest := map[string]any{"version": "48.0.0", "artifacts": map[string]any{
		stack + ".assets": map[string]any{"type": "cdk:asset-manifest", "properties": map[string]any{"file": stack + ".assets.json"}},
		stack: map[string]any{
			"type": "aws:cloudformation:stack", "environment": fmt.Sprintf("aws://%s/%s", account, region), "displayName": stack,
			"dependencies": []string{stack + ".assets"},
			"properties": map[string]any{
				"templateFile": name, "stackName": stack, "validateOnSynth": false,
				"assumeRoleArn": role("deploy"), "cloudFormationExecutionRoleArn": role("cfn-exec"),
				"stackTemplateAssetObjectUrl":       fmt.Sprintf("s3://%s/%s", bucket, key),
				"requiresBootstrapStackVersion":     6,
				"bootstrapStackVersionSsmParameter": "/cdk-bootstrap/hnb659fds/version",
				"additionalDependencies":            []string{stack + ".assets"},
			},
		},
	}}
	assets := map[string]any{"version": "48.0.0", "dockerImages": map[string]any{}, "files": map[string]any{"template": map[string]any{
		"source": map[string]any{"path": name, "packaging": "file"},
		"destinations": map[string]any{"current": map[string]any{
			"bucketName": bucket, "objectKey": key, "region": region, "assumeRoleArn": role("file-publishing"),
		}},
	}}}
	for file, content := range map[string]any{"manifest.json": manifest, stack + ".assets.json": assets} {
		data, err := json.Marshal(content)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, file), data, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(folder, name), []byte(template), 0o600)
}
