package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cluster-exporter/exporter"
	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

const good = `apiVersion: config.kube-iam-assume.dev/v1alpha1
kind: Exporter
cluster: prod-eu1
issuer: https://oidc.example.com/prod-eu1
destinations:
- {publisher: prod, webhook: {url: "https://publisher.example.com/v1/snapshots"}}
`

func TestRun(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, wrong := write("right.yaml", good), write("wrong.yaml", good+"heartbeet: 1m\n")
	for name, test := range map[string]struct {
		args []string
		is   error
		says string
	}{
		"version":        {[]string{"--version"}, nil, ""},
		"right settings": {[]string{"--config", right, "--check"}, nil, ""},
		"wrong settings": {[]string{"--config", wrong, "--check"}, settings.ErrInvalid, `wrong.yaml:7: invalid settings: unknown field "heartbeet"`},
		"no settings":    {[]string{"--config", "missing.yaml"}, os.ErrNotExist, "--config"},
		"no authority":   {[]string{"--config", right, "--ca-file", "missing.crt", "--api-server", "10.0.0.1:6443"}, exporter.ErrAccess, "missing.crt"},
		"no API server":  {[]string{"--config", right, "--api-server", ""}, exporter.ErrAccess, "--api-server"},
		"help":           {[]string{"--help"}, flag.ErrHelp, ""},
		"an argument":    {[]string{"run"}, nil, `unexpected argument "run"`},
	} {
		err := run(test.args)
		if !errors.Is(err, test.is) && test.is != nil || (err == nil) != (test.is == nil && test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What --help shows must be what is accepted.
func TestTheSettingsInTheHelpAreRight(t *testing.T) {
	t.Parallel()
	_, example, _ := strings.Cut(usage, "The settings:\n")
	example, _, _ = strings.Cut(example, "Outside a pod")
	if _, err := exporter.ParseSettings("help", []byte(strings.ReplaceAll(example, "\n  ", "\n"))); err != nil {
		t.Error(err)
	}
}
