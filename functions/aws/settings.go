package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// environment is what the function is told by its variables.
type environment struct {
	documents, private string // buckets
	folder             string // of the package
}

// readEnvironment names every variable that is missing, and how to set it.
func readEnvironment(getenv func(string) string) (environment, error) {
	e := environment{documents: getenv("DOCUMENTS_BUCKET"), private: getenv("PRIVATE_BUCKET"), folder: getenv("LAMBDA_TASK_ROOT")}
	var missing []error
	for name, purpose := range map[string]string{"DOCUMENTS_BUCKET": "the bucket of the public documents", "PRIVATE_BUCKET": "the bucket of the state and the log"} {
		if getenv(name) == "" {
			missing = append(missing, fmt.Errorf("%s is not set: name %s in the function's environment", name, purpose))
		}
	}
	switch {
	case len(missing) > 0:
		return e, errors.Join(missing...)
	case e.documents == e.private:
		return e, fmt.Errorf("DOCUMENTS_BUCKET and PRIVATE_BUCKET are both %q: the state must not be where the world may read", e.private)
	case getenv("AWS_REGION") == "":
		return e, errors.New("AWS_REGION is not set: Lambda sets it, so something in the environment took it away")
	case getenv("AWS_LAMBDA_LOG_FORMAT") != "JSON":
		return e, errors.New("the function's log format is text: set it to JSON (LoggingConfig: {LogFormat: JSON}), or no alarm sees an event")
	}
	if e.folder == "" {
		program, err := os.Executable()
		if err != nil {
			return e, fmt.Errorf("LAMBDA_TASK_ROOT is not set: %w", err)
		}
		e.folder = filepath.Dir(program)
	}
	return e, nil
}

// open makes the publisher. It asks no network: credentials and buckets are first used by the first event.
func open(ctx context.Context, getenv func(string) string, logger *slog.Logger) (*publish.Publisher, error) {
	e, err := readEnvironment(getenv)
	if err != nil {
		return nil, err
	}
	settings, err := enrollment.Load(filepath.Join(e.folder, "publisher.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the function's package holds publisher.yaml and clusters/ beside bootstrap", err)
	}
	if err != nil {
		return nil, err
	}
	for _, warning := range settings.Warnings() {
		logger.Warn(warning, "event", "settings.warning")
	}
	cloud, err := config.LoadDefaultConfig(ctx, config.WithLogger(sdkLogger(logger)))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's settings: %w", err)
	}
	client := awss3.NewFromConfig(cloud)
	documents, err := s3.New(client, e.documents)
	if err != nil {
		return nil, fmt.Errorf("DOCUMENTS_BUCKET: %w", err)
	}
	private, err := s3.New(client, e.private)
	if err != nil {
		return nil, fmt.Errorf("PRIVATE_BUCKET: %w", err)
	}
	return publish.New(publish.Config{Settings: settings, Documents: documents, Private: private, Logger: logger})
}

// sdkLogger keeps the SDK, which would write text, to lines that alarms can read. What it says of every response is for debugging.
func sdkLogger(logger *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(kind logging.Classification, format string, args ...any) {
		log := logger.Debug
		if kind == logging.Warn {
			log = logger.Warn
		}
		log(fmt.Sprintf(format, args...), "event", "sdk.message")
	})
}
