package keyfile_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kube-iam-assume/kube-iam-assume/cli/keyfile"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func TestRead(t *testing.T) {
	t.Parallel()
	a, b := snapshottest.NewKey(), snapshottest.NewRSAKey()
	private, err := x509.MarshalPKCS8PrivateKey(a.Private)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		keys int
		want error
		says string
	}{
		"a JWK Set":         {string(jwks.Set{a.Key, b.Key}.Encode()), 2, nil, ""},
		"one public key":    {public(t, a), 1, nil, ""},
		"several":           {public(t, a) + "# and\n" + public(t, b), 2, nil, ""},
		"one twice":         {public(t, a) + public(t, a), 1, nil, ""},
		"a private key":     {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0, jwks.ErrPrivate, "give the public half"},
		"a private JWK":     {strings.Replace(string(jwks.Set{b.Key}.Encode()), `"use":`, `"d":"AQAB","use":`, 1), 0, jwks.ErrPrivate, ""},
		"a certificate":     {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0, nil, `block "CERTIFICATE"`},
		"nothing":           {"", 0, nil, "neither a JWK Set nor PEM"},
		"more than is read": {strings.Repeat(" ", jwks.MaxBytes+1), 0, jwks.ErrTooLarge, ""},
	} {
		file := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := keyfile.Read(file)
		fine := test.keys > 0
		if fine != (err == nil) || len(keys) != test.keys || test.want != nil && !errors.Is(err, test.want) || !fine && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
}

func public(t testing.TB, key snapshottest.Key) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"keys":[]}`))
	f.Add([]byte(public(f, snapshottest.NewKey())))
	file := filepath.Join(f.TempDir(), "keys")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		keys, err := keyfile.Read(file)
		if err != nil {
			return
		}
		if again, err := jwks.Parse(keys.Encode()); err != nil || len(again) != len(keys) {
			t.Fatal(err)
		}
	})
}
