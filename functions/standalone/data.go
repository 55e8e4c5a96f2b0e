package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kube-iam-assume/kube-iam-assume/shared/bucket/dir"
)

func openData(directory string) (documents, private *dir.Bucket, err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, nil, err
	}
	if documents, err = dir.Open(filepath.Join(directory, "documents")); err != nil {
		return nil, nil, err
	}
	private, err = dir.Open(filepath.Join(directory, "private"))
	return documents, private, err
}

func rootsOf(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil //nolint:nilnil // nil is the system's pool
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate: want PEM", file)
	}
	return roots, nil
}
