package doors

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/functions/gcp/federation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/gcs"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// open makes the publisher. It asks no bucket and no key.
func open(ctx context.Context, getenv func(string) string, logger *slog.Logger) (*publish.Publisher, error) {
	documentsBucket, privateBucket, err := function.Buckets(getenv)
	if err != nil {
		return nil, err
	}
	settings, err := function.Settings(folder(), logger)
	if err != nil {
		return nil, err
	}
	targets, err := targetsOf(ctx, settings, logger)
	if err != nil {
		return nil, err
	}
	client, err := gcs.NewClient(ctx)
	if err != nil {
		return nil, err
	}
	documents, err := gcs.New(client, documentsBucket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function.DocumentsVariable, err)
	}
	private, err := gcs.New(client, privateBucket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function.PrivateVariable, err)
	}
	return publish.New(publish.Config{Settings: settings, Documents: documents, Private: private, Targets: targets, Logger: logger})
}

// folder is where publisher.yaml is: beside the program, or in the working directory; or, if Google's buildpack built the program, where
// that moves the source to.
func folder() string {
	folders := []string{".", "serverless_function_source_code"}
	if program, err := os.Executable(); err == nil {
		folders = append([]string{filepath.Dir(program)}, folders...)
	}
	for _, f := range folders {
		if _, err := os.Stat(filepath.Join(f, "publisher.yaml")); err == nil {
			return f
		}
	}
	return folders[0]
}

// targetsOf has the Workload Identity providers that are to keep the keys of an issuer, beside the documents bucket.
func targetsOf(ctx context.Context, settings enrollment.Publisher, logger *slog.Logger) (map[string]publish.Target, error) {
	targets := map[string]publish.Target{}
	for _, issuer := range settings.Issuers {
		if issuer.WorkloadIdentityProvider == "" {
			continue
		}
		provider, err := federation.New(ctx, federation.Settings{
			Issuer: issuer.URL, Provider: issuer.WorkloadIdentityProvider, Logger: logger,
		})
		if err != nil {
			return nil, err
		}
		targets[issuer.URL] = provider
	}
	return targets, nil
}
