package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/s3"
	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// packageFolder checks what Lambda itself sets, and says where the function's package is.
func packageFolder(getenv func(string) string) (string, error) {
	switch {
	case getenv("AWS_REGION") == "":
		return "", errors.New("AWS_REGION is not set: Lambda sets it, so something in the environment took it away")
	case getenv("AWS_LAMBDA_LOG_FORMAT") != "JSON":
		return "", errors.New("the function's log format is text: set it to JSON (LoggingConfig: {LogFormat: JSON}), or no alarm sees an event")
	case getenv("LAMBDA_TASK_ROOT") != "":
		return getenv("LAMBDA_TASK_ROOT"), nil
	}
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("LAMBDA_TASK_ROOT is not set: %w", err)
	}
	return filepath.Dir(program), nil
}

// open makes the publisher. It asks no network: credentials and buckets are first used by the first event.
func open(ctx context.Context, getenv func(string) string, logger *slog.Logger) (*publish.Publisher, error) {
	documentsBucket, privateBucket, err := function.Buckets(getenv)
	if err != nil {
		return nil, err
	}
	folder, err := packageFolder(getenv)
	if err != nil {
		return nil, err
	}
	settings, err := function.Settings(folder, logger)
	if err != nil {
		return nil, err
	}
	cloud, err := config.LoadDefaultConfig(ctx, config.WithLogger(sdkLogger(logger)))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's settings: %w", err)
	}
	client := awss3.NewFromConfig(cloud)
	documents, err := s3.New(client, documentsBucket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function.DocumentsVariable, err)
	}
	private, err := s3.New(client, privateBucket)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", function.PrivateVariable, err)
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
