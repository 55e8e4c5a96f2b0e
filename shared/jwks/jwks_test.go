package jwks_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

var (
	rsaKey = must(rsa.GenerateKey(rand.Reader, 2048))
	p256   = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384   = must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521   = must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestKubernetesKeyIDs(t *testing.T) {
	for want, public := range map[string]any{"RS256": &rsaKey.PublicKey, "ES256": &p256.PublicKey, "ES384": &p384.PublicKey, "ES512": &p521.PublicKey} {
		key := must(jwks.New(public))
		sum := sha256.Sum256(must(x509.MarshalPKIXPublicKey(public)))
		if id := base64.RawURLEncoding.EncodeToString(sum[:]); key.ID() != id || !key.HasDerivedID() || key.Algorithm() != want {
			t.Errorf("%s: ID %s, want %s; algorithm %s", want, key.ID(), id, key.Algorithm())
		}
	}
}

// What is written must mean the same to the library that most consumers use.
func TestEncodeAgreesWithGoJOSE(t *testing.T) {
	for _, public := range []any{&rsaKey.PublicKey, &p256.PublicKey, &p384.PublicKey, &p521.PublicKey} {
		key := must(jwks.New(public))
		var theirs jose.JSONWebKeySet
		if err := json.Unmarshal(jwks.Set{key}.Encode(), &theirs); err != nil {
			t.Fatal(err)
		}
		if got := theirs.Keys[0]; got.KeyID != key.ID() || got.Use != "sig" || got.Algorithm != key.Algorithm() || !equalPublic(got.Key, public) {
			t.Errorf("go-jose reads %+v", got)
		}
		again := must(jwks.Parse(must(json.Marshal(theirs))))
		if !again[0].Equal(key) {
			t.Error("what go-jose writes is another key")
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := string(must(must(jwks.New(&rsaKey.PublicKey)).MarshalJSON()))
	ec := string(must(must(jwks.New(&p256.PublicKey)).MarshalJSON()))
	private := string(must((&jose.JSONWebKey{Key: rsaKey, KeyID: "x"}).MarshalJSON()))
	number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
	modulus := number(rsaKey.N)
	set := func(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }
	replace := func(key, old, with string) string {
		if !strings.Contains(key, old) {
			t.Fatalf("%q is not in the key", old)
		}
		return set(strings.Replace(key, old, with, 1))
	}
	for name, test := range map[string]struct {
		document string
		want     error
	}{
		"not JSON":              {"{", jwks.ErrMalformed},
		"no keys member":        {"{}", jwks.ErrMalformed},
		"null keys":             {`{"keys":null}`, jwks.ErrMalformed},
		"another case":          {`{"KEYS":[]}`, jwks.ErrMalformed},
		"keys twice":            {`{"keys":[],"keys":[]}`, jwks.ErrMalformed},
		"unknown member of set": {`{"keys":[],"x":1}`, jwks.ErrMalformed},
		"trailing data":         {set(good) + "{}", jwks.ErrMalformed},
		"byte order mark":       {"\ufeff" + set(good), jwks.ErrMalformed},
		"invalid UTF-8":         {replace(good, `"use":"sig"`, "\"use\":\"\xff\""), jwks.ErrMalformed},
		"deep nesting":          {`{"keys":[{"x":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}]}`, jwks.ErrMalformed},
		"member twice":          {replace(good, `"use":"sig"`, `"use":"sig","use":"sig"`), jwks.ErrMalformed},
		"certificate chain":     {replace(good, `"use":"sig"`, `"use":"sig","x5c":[]`), jwks.ErrMalformed},
		"key_ops":               {replace(good, `"use":"sig"`, `"key_ops":["verify"]`), jwks.ErrMalformed},
		"for encryption":        {replace(good, `"sig"`, `"enc"`), jwks.ErrMalformed},
		"another algorithm":     {replace(good, "RS256", "HS256"), jwks.ErrMalformed},
		"algorithm none":        {replace(good, "RS256", "none"), jwks.ErrMalformed},
		"empty key ID":          {replace(good, must(jwks.New(&rsaKey.PublicKey)).ID(), ""), jwks.ErrMalformed},
		"long key ID":           {replace(good, must(jwks.New(&rsaKey.PublicKey)).ID(), strings.Repeat("k", 1025)), jwks.ErrMalformed},
		"padded modulus":        {replace(good, modulus, modulus+"=="), jwks.ErrMalformed},
		"line break":            {replace(good, modulus, modulus+`\n`), jwks.ErrMalformed},
		"leading zero":          {replace(good, modulus, base64.RawURLEncoding.EncodeToString(append([]byte{0}, rsaKey.N.Bytes()...))), jwks.ErrMalformed},
		"RSA with a curve":      {replace(good, `"use":"sig"`, `"use":"sig","crv":"P-256"`), jwks.ErrMalformed},
		"short coordinate":      {replace(ec, `"x":"`, `"x":"AA`), jwks.ErrMalformed},
		"not on its curve":      {replace(ec, `"crv":"P-256"`, `"crv":"P-384"`), jwks.ErrMalformed},
		"private":               {set(private), jwks.ErrPrivate},
		"private and malformed": {replace(private, `"kty":"RSA"`, `"kty":"RSA","zzz":1`), jwks.ErrPrivate},
		"symmetric":             {set(`{"kty":"oct","kid":"a","k":"AAAA"}`), jwks.ErrSymmetric},
		"Ed25519":               {set(`{"kty":"OKP","kid":"a","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(make([]byte, 32)) + `"}`), jwks.ErrUnsupported},
		"unknown curve":         {replace(ec, "P-256", "secp256k1"), jwks.ErrUnsupported},
		"1024 bits":             {replace(good, modulus, number(new(big.Int).SetBit(big.NewInt(1), 1023, 1))), jwks.ErrWeak},
		"8192 bits":             {replace(good, modulus, number(new(big.Int).SetBit(big.NewInt(1), 8191, 1))), jwks.ErrWeak},
		"even modulus":          {replace(good, modulus, number(new(big.Int).Sub(rsaKey.N, big.NewInt(1)))), jwks.ErrWeak},
		"exponent 3":            {replace(good, `"AQAB"`, `"Aw"`), jwks.ErrWeak},
		"two keys of one ID":    {set(good, strings.Replace(ec, must(jwks.New(&p256.PublicKey)).ID(), must(jwks.New(&rsaKey.PublicKey)).ID(), 1)), jwks.ErrDuplicate},
		"one key of two IDs":    {set(good, strings.Replace(good, must(jwks.New(&rsaKey.PublicKey)).ID(), "other", 1)), jwks.ErrDuplicate},
		"81 keys":               {set(strings.Split(strings.Repeat(good+"|", 81), "|")[:81]...), jwks.ErrTooLarge},
		"too many bytes":        {strings.Repeat(" ", jwks.MaxBytes+1), jwks.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := jwks.Parse([]byte(test.document))
			if !errors.Is(err, test.want) {
				t.Fatalf("got %v, %v; want %v", set.IDs(), err, test.want)
			}
			if strings.Contains(err.Error(), number(rsaKey.D)) {
				t.Error("the error quotes a private key")
			}
		})
	}
}

func TestParseToleratesWhatAPIServersDo(t *testing.T) {
	good := string(must(must(jwks.New(&rsaKey.PublicKey)).MarshalJSON()))
	set, err := jwks.Parse([]byte(`{"keys":[` + good + `,` + good + "]} \t\n"))
	if err != nil || len(set) != 1 {
		t.Fatalf("a key listed twice: %v, %v", set.IDs(), err)
	}
}

func TestUnionIsSortedAndDistinct(t *testing.T) {
	a, b := must(jwks.New(&p256.PublicKey)), must(jwks.New(&p384.PublicKey))
	one, two := must(jwks.Union(jwks.Set{a, b}, jwks.Set{b})), must(jwks.Union(jwks.Set{b}, jwks.Set{a}))
	if len(one) != 2 || !bytes.Equal(one.Encode(), two.Encode()) {
		t.Fatal(one.IDs(), two.IDs())
	}
	if _, err := jwks.Union(jwks.Set{a}, jwks.Set{must(jwks.NewWithID(b.Public(), a.ID()))}); !errors.Is(err, jwks.ErrDuplicate) {
		t.Fatal(err)
	}
}

func TestNewRefuses(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{public, rsaKey, []byte("secret"), &must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)).PublicKey} {
		if _, err := jwks.New(key); !errors.Is(err, jwks.ErrUnsupported) {
			t.Errorf("%T: %v", key, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(jwks.Set{must(jwks.New(&rsaKey.PublicKey)), must(jwks.New(&p521.PublicKey))}.Encode())
	f.Add([]byte(`{"keys":[{"kty":"EC","kid":"a","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := jwks.Parse(data)
		if err != nil {
			return
		}
		again, err := jwks.Parse(set.Encode())
		if err != nil || !bytes.Equal(again.Encode(), set.Encode()) {
			t.Fatalf("%v: %q is written as %q", err, data, set.Encode())
		}
	})
}

func equalPublic(a, b any) bool {
	return bytes.Equal(must(x509.MarshalPKIXPublicKey(a)), must(x509.MarshalPKIXPublicKey(b)))
}
