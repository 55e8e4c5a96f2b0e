// Command signer is an external signer of service account tokens, what kube-apiserver's --service-account-signing-endpoint asks instead
// of having keys of its own (KEP-740).
//
//	signer SOCKET KEYS
//
// It listens on a Unix socket. The file KEYS is read at every call, so whoever replaces it rotates the keys without a restart.
package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	externaljwt "k8s.io/externaljwt/apis/v1"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("want two arguments: the socket and the file of keys")
	}
	listener, err := net.Listen("unix", args[0])
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	externaljwt.RegisterExternalJWTSignerServer(server, &signer{file: args[1]})
	return server.Serve(listener)
}

// keys is the file: all keys, in the order they are published in, and which of them signs.
type keys struct {
	Sign           string `json:"sign"`           // a key's ID
	RefreshSeconds int64  `json:"refreshSeconds"` // how long API servers may keep the keys without asking again
	Keys           []key  `json:"keys"`
}

type key struct {
	ID     string `json:"id"`               // whatever the signer likes
	PEM    string `json:"pem"`              // PKCS #8
	Hidden bool   `json:"hidden,omitempty"` // accepted, but not in the JWKS
}

func read(file string) (keys, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return keys{}, err
	}
	var k keys
	if err := json.Unmarshal(data, &k); err != nil {
		return keys{}, fmt.Errorf("%s: %w", file, err)
	}
	return k, nil
}

func (k keys) signing() (key, error) {
	i := slices.IndexFunc(k.Keys, func(key key) bool { return key.ID == k.Sign })
	if i < 0 {
		return key{}, fmt.Errorf("key %q is to sign, but is not among the keys", k.Sign)
	}
	return k.Keys[i], nil
}

func (k key) private() (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(k.PEM))
	if block == nil {
		return nil, fmt.Errorf("key %q is not PEM", k.ID)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.ID, err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key %q is a %T, which does not sign", k.ID, parsed)
	}
	return private, nil
}

// jws is what signs with the key, and what it writes in front of the claims.
func (k key) jws() (jose.Signer, error) {
	private, err := k.private()
	if err != nil {
		return nil, err
	}
	algorithm, err := algorithmOf(private)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.ID, err)
	}
	signing := jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: private, KeyID: k.ID}}
	return jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT"))
}
