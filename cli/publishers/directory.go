package publishers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

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

// Place is the URL below which the publisher's documents of an issuer are: the issuer's own, unless it is a mirror and the settings say where.
func (p Publisher) Place(issuer string) string {
	if place, ok := p.ServedAt[issuer]; ok {
		return place
	}
	if own, ok := p.local(issuer); ok && own.ServedAt != "" {
		return own.ServedAt
	}
	return issuer
}

// Mirrors are where other publishers of an issuer have their documents, as far as this one's settings are here and say it.
func (p Publisher) Mirrors(issuer string) []string {
	own, _ := p.local(issuer)
	return own.Mirrors
}

// local is what the settings of a publisher on this machine say of an issuer. If they can't be read, that is told when an order is sent.
func (p Publisher) local(issuer string) (enrollment.Issuer, bool) {
	if p.Directory == nil {
		return enrollment.Issuer{}, false
	}
	loaded, err := enrollment.Load(p.Directory.Settings)
	if err != nil {
		return enrollment.Issuer{}, false
	}
	i := slices.IndexFunc(loaded.Issuers, func(i enrollment.Issuer) bool { return i.URL == issuer })
	if i < 0 {
		return enrollment.Issuer{}, false
	}
	return loaded.Issuers[i], true
}
