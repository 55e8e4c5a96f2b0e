package kube

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"testing"
)

// ReadKeys reads the keys of a file as kube-apiserver does: every PEM block, private (PKCS #8) or public. A public one can only verify.
func ReadKeys(t testing.TB, file string) []*Key {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var keys []*Key
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		key, err := keyOf(block)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		t.Fatalf("%s: no key in it", file)
	}
	return keys
}

func keyOf(block *pem.Block) (*Key, error) {
	if block.Type == "PUBLIC KEY" {
		_, err := x509.ParsePKIXPublicKey(block.Bytes)
		return &Key{pkix: block.Bytes}, err
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %s that can't sign", block.Type)
	}
	pkix, err := x509.MarshalPKIXPublicKey(signer.Public())
	return &Key{private: signer, pkix: pkix}, err
}
