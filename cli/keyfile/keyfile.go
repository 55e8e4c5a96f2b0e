// Package keyfile reads public keys as people have them: PEM blocks, as for --service-account-key-file, or a JWK Set.
package keyfile

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// Read reads a file. The errors are those of package jwks and of the file system.
func Read(file string) (jwks.Set, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if len(data) > jwks.MaxBytes {
		return nil, fmt.Errorf("%s: %w: %d bytes", file, jwks.ErrTooLarge, len(data))
	}
	if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
		set, err := jwks.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return set, nil
	}
	var keys jwks.Set
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "PRIVATE") {
			return nil, fmt.Errorf("%s: %w: give the public half (openssl pkey -in KEY -pubout)", file, jwks.ErrPrivate)
		}
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: block %q: %w", file, block.Type, err)
		}
		key, err := jwks.New(public)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: neither a JWK Set nor PEM public keys", file)
	}
	return jwks.Union(keys)
}
