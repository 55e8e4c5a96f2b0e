package publishers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
)

// directory is a standalone publisher's, which may go on running. Only who may write there can use it.
type directory struct{ publisher *publish.Publisher }

func openDirectory(d Directory) (door, error) {
	loaded, err := enrollment.Load(d.Settings)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(d.Data, "private")); err != nil {
		return nil, fmt.Errorf("%w: %s holds no publisher's data: %w", ErrNoDoor, d.Data, err)
	}
	documents, err := openBucket(filepath.Join(d.Data, "documents"))
	if err != nil {
		return nil, err
	}
	private, err := openBucket(filepath.Join(d.Data, "private"))
	if err != nil {
		return nil, err
	}
	// What it does is told by the outcome; what goes wrong otherwise by the error.
	logger := slog.New(slog.NewJSONHandler(io.Discard, nil))
	p, err := publish.New(publish.Config{Settings: loaded, Documents: documents, Private: private, Logger: logger})
	if err != nil {
		return nil, err
	}
	return directory{p}, nil
}

func openBucket(path string) (*dir.Bucket, error) {
	opened, err := dir.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("%w: %w: run this as the publisher's user", ErrForbidden, err)
	}
	return opened, err
}

func (d directory) send(ctx context.Context, order []byte) ([]byte, error) {
	answer, err := function.Operate(ctx, d.publisher, order)
	switch {
	case errors.Is(err, publish.ErrRetry):
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%w: %w: run this as the publisher's user", ErrForbidden, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return answer, nil
}

// Places are URLs below which the publisher's documents of an issuer are, besides the issuer's own, as far as the settings tell.
func (p Publisher) Places(issuer string) []string {
	var places []string
	if place, ok := p.ServedAt[issuer]; ok {
		places = append(places, place)
	}
	if p.Directory == nil {
		return places
	}
	loaded, err := enrollment.Load(p.Directory.Settings)
	if err != nil { // which is told when an order is sent
		return places
	}
	for _, i := range loaded.Issuers {
		if i.URL == issuer && i.ServedAt != "" {
			places = append(places, i.ServedAt)
		}
		if i.URL == issuer {
			places = append(places, i.Mirrors...)
		}
	}
	return places
}
