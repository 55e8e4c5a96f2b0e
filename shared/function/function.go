// Package function is what the publishers in the clouds have in common: each has its settings beside the program, two buckets, a queue and
// an operator's door. What differs, how a cloud calls its functions, is in functions/aws, gcp and azure.
package function

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// The variables that name the buckets, each in the words of its cloud.
const (
	DocumentsVariable = "DOCUMENTS_BUCKET" // public
	PrivateVariable   = "PRIVATE_BUCKET"   // state and log
)

// Buckets reads the environment. The error names every variable that is missing, and how to set it.
func Buckets(getenv func(string) string) (documents, private string, err error) {
	documents, private = getenv(DocumentsVariable), getenv(PrivateVariable)
	var missing []error
	if documents == "" {
		missing = append(missing, fmt.Errorf("%s is not set: name the bucket of the public documents in the function's environment", DocumentsVariable))
	}
	if private == "" {
		missing = append(missing, fmt.Errorf("%s is not set: name the bucket of the state and the log in the function's environment", PrivateVariable))
	}
	switch {
	case len(missing) > 0:
		return "", "", errors.Join(missing...)
	case documents == private:
		return "", "", fmt.Errorf("%s and %s are both %q: the state must not be where the world may read", DocumentsVariable, PrivateVariable, private)
	}
	return documents, private, nil
}

// Settings reads publisher.yaml and clusters/ from the folder of the function's package, and logs what is permitted and unwise.
func Settings(folder string, logger *slog.Logger) (enrollment.Publisher, error) {
	settings, err := enrollment.Load(filepath.Join(folder, "publisher.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return settings, fmt.Errorf("%w: the function's package holds publisher.yaml and clusters/ beside the program", err)
	}
	if err != nil {
		return settings, err
	}
	for _, warning := range settings.Warnings() {
		logger.Warn(warning, "event", "settings.warning")
	}
	return settings, nil
}

// Take judges a snapshot that came as a queue's message. It returns nil if the queue can forget it, because it was accepted, or refused:
// publish has logged that, and the log is what counts it. An error is to bring the message back later.
func Take(ctx context.Context, p *publish.Publisher, logger *slog.Logger, message string, envelope []byte) error {
	err := Guarded(func() error {
		_, err := p.Accept(publish.WithInstance(ctx, message), envelope)
		return err
	})
	if err == nil || !publish.Retryable(err) {
		return nil
	}
	logger.WarnContext(ctx, "a message goes back to the queue", "event", "queue.returned", "instance", message, "detail", err.Error())
	return err
}

// Guarded makes a panic an error, so that one bad input does not take down what else there is to do.
func Guarded(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a bug of this program: panic: %v", p)
		}
	}()
	return do()
}
