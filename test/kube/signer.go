package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/test/fromsource"
	"github.com/kube-iam-assume/kube-iam-assume/test/process"
)

// A Signer is an external signer (KEP-740): API servers that are started with it have no keys of their own, but ask it for every
// signature and, every now and then, for the public keys. Its keys change without a restart of anything.
type Signer struct {
	socket, file string
	process      *process.Process
}

// SignerKeys are what a Signer has.
type SignerKeys struct {
	Sign    string        // the ID of the key that signs
	Keys    []NamedKey    // in the order they are published in
	Refresh time.Duration // how long API servers may keep the keys, whole seconds; 0 means one
}

// A NamedKey is a key under an ID of the signer's choice.
type NamedKey struct {
	ID     string
	Key    *Key
	Hidden bool // its tokens are accepted, but the API servers' JWKS lacks it; it may not sign
}

const signingFlag = "--service-account-signing-endpoint"

// KnowsSigners says whether API servers of the tests' Kubernetes can have a Signer. That is so from 1.34 on; 1.32 and 1.33 have it
// behind a feature gate. For an older one it is seen that the API server refuses the flag, as the tests of signers have nothing else
// to see then.
func KnowsSigners(t testing.TB) bool {
	t.Helper()
	programs, err := build()
	if err != nil {
		t.Fatalf("kube.KnowsSigners: %v", err)
	}
	release, err := fromsource.ChosenKubernetes()
	if err != nil {
		t.Fatalf("kube.KnowsSigners: %v", err)
	}
	if release.ExternalSigners {
		return true
	}
	out, err := exec.CommandContext(t.Context(), programs.APIServer, signingFlag+"=/socket").CombinedOutput()
	if want := "unknown flag: " + signingFlag; err == nil || !strings.Contains(string(out), want) {
		t.Fatalf("Kubernetes %s should say %q, says (%v): %s", programs.Version, want, err, out)
	}
	t.Logf("Kubernetes %s has no external signers: it does not know the flag %s", programs.Version, signingFlag)
	return false
}

// StartSigner starts an external signer, which ends with the test.
func StartSigner(t testing.TB, keys SignerKeys) *Signer {
	t.Helper()
	// Not t.TempDir: it has the test's name in it, and a socket's path at most 107 bytes.
	folder, err := os.MkdirTemp("", "signer")
	if err != nil {
		t.Fatalf("kube.StartSigner: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	binary, err := buildSigner(t.Context(), folder)
	if err != nil {
		t.Fatalf("kube.StartSigner: %v", err)
	}
	s := &Signer{socket: filepath.Join(folder, "socket"), file: filepath.Join(folder, "keys.json")}
	s.Set(t, keys)
	s.process, err = process.Start(process.Program{
		Name: "signer", Log: filepath.Join(folder, "signer.log"), Binary: binary, Flags: []string{s.socket, s.file},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.process.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), stopTimeout)
	defer cancel()
	if err := s.process.WaitUntil(ctx, "listening", s.listening); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Signer) listening(ctx context.Context) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", s.socket)
	if err == nil {
		err = connection.Close()
	}
	return err
}

// Set replaces the keys. The next token is signed as they say. API servers publish them when they may not keep the old ones any longer,
// or when a token names a key ID they do not know.
func (s *Signer) Set(t testing.TB, keys SignerKeys) {
	t.Helper()
	content, err := keys.encode()
	if err == nil {
		err = writeAtomically(s.file, content)
	}
	if err != nil {
		t.Fatalf("give the signer its keys: %v", err)
	}
}

// encode is the file that command signer reads.
func (k SignerKeys) encode() ([]byte, error) {
	type named struct {
		ID     string `json:"id"`
		PEM    string `json:"pem"`
		Hidden bool   `json:"hidden,omitempty"`
	}
	file := struct {
		Sign           string  `json:"sign"`
		RefreshSeconds int64   `json:"refreshSeconds"`
		Keys           []named `json:"keys"`
	}{Sign: k.Sign, RefreshSeconds: max(1, int64(k.Refresh/time.Second))}
	for _, key := range k.Keys {
		private, err := key.Key.PrivatePEM()
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key.ID, err)
		}
		file.Keys = append(file.Keys, named{key.ID, string(private), key.Hidden})
	}
	return json.Marshal(file)
}

// buildSigner builds command signer, which has a module of its own to keep its dependencies out of ours, into a folder. The Go tool's
// cache makes every time but the first short.
func buildSigner(ctx context.Context, folder string) (binary string, err error) {
	tool := cmp.Or(os.Getenv("GO"), "go") // the Makefile's choice
	root, err := exec.CommandContext(ctx, tool, "list", "-f", "{{.Dir}}", "github.com/kube-iam-assume/kube-iam-assume/test/kube").Output()
	if err != nil {
		return "", fmt.Errorf("find the signer's source: %w", err)
	}
	binary = filepath.Join(folder, "signer")
	build := exec.CommandContext(ctx, tool, "build", "-trimpath", "-o", binary, ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(root)), "signer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=-mod=readonly", "PWD="+build.Dir)
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the signer (needs a module proxy the first time): %w\n%s", err, output)
	}
	return binary, nil
}
