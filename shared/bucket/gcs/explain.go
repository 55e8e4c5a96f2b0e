package gcs

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket"
)

// refused finds the decision in what became of a write.
func (b *Bucket) refused(ctx context.Context, name string, condition storage.Conditions, err error) error {
	switch {
	case status(err) == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: Cloud Storage says %d", bucket.ErrConflict, http.StatusPreconditionFailed)
	case status(err) == http.StatusForbidden && condition.DoesNotExist && b.exists(ctx, name):
		return fmt.Errorf("%w: it exists, and may not be replaced", bucket.ErrConflict)
	}
	return b.explain(err)
}

// exists says whether there is an object for certain.
func (b *Bucket) exists(ctx context.Context, name string) bool {
	_, err := b.handle.Object(name).Attrs(ctx)
	return err == nil
}

// explain adds the remedy to what the SDK says.
func (b *Bucket) explain(err error) error {
	switch status(err) {
	case http.StatusNotFound:
		return fmt.Errorf("there is no bucket %s: create it, or correct its name: %w", b.name, err)
	case http.StatusUnauthorized:
		return fmt.Errorf("no valid credentials: run as a service account that may use the bucket %s: %w", b.name, err)
	case http.StatusForbidden:
		return fmt.Errorf("denied: the service account needs storage.objects.get and storage.objects.create on the object, storage.objects.delete "+
			"to replace it, and storage.objects.list on the bucket %s (without which Cloud Storage also says this of an object that does not exist): %w", b.name, err)
	case http.StatusTooManyRequests:
		return fmt.Errorf("too many requests: one object takes about one write per second: %w", err)
	}
	return err
}

// status is the HTTP status of an answer that is an error, and zero if there was none.
func status(err error) int {
	if answer := new(googleapi.Error); errors.As(err, &answer) {
		return answer.Code
	}
	return 0
}
