package vectors

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

func ec(id, curve, x, y, more string) string {
	return fmt.Sprintf(`{"kty":"EC","kid":%q,"use":"sig","alg":"ES256","crv":%q,"x":%q,"y":%q%s}`, id, curve, x, y, more)
}

func rsaKey(n *big.Int, e int64, more string) string {
	b64 := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"RSA","kid":"k","use":"sig","alg":"RS256","n":%q,"e":%q%s}`, b64(n.Bytes()), b64(big.NewInt(e).Bytes()), more)
}

// modulus is an odd number of so many bits.
func modulus(bits int) *big.Int {
	n := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits))))
	return n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
}

func many(n int) (keys []snapshottest.Key) {
	for range n {
		keys = append(keys, snapshottest.NewKey())
	}
	return keys
}

// contents is about the keys that a snapshot brings.
func contents() []attack {
	key := func(text func(*lab) string) func(*lab) []byte {
		return func(l *lab) []byte { return l.keys(text(l)) }
	}
	x := func(l *lab) string { return string(must(l.x.MarshalJSON())) }
	a := func(l *lab) string { return string(must(l.a.MarshalJSON())) }
	change := func(of func(*lab) string, old, new string) func(*lab) []byte {
		return key(func(l *lab) string { return strings.Replace(of(l), old, new, 1) })
	}
	forged := func(n *big.Int, e int64) func(*lab) []byte { return key(func(*lab) string { return rsaKey(n, e, "") }) }
	return []attack{
		known(7, "kid-squatting", "key-id", "a key of the attacker's under the ID of a key of the cluster", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Keys = jwks.Set{must(jwks.NewWithID(l.x.Public(), l.a.ID()))} })
		}),
		known(7, "kid-chosen", "key-id", "a key ID that is not derived from the key", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Keys = append(s.Keys, must(jwks.NewWithID(l.x.Public(), "chosen"))) })
		}),
		known(7, "kid-squatting-external-signer", "key-conflict", "a known key ID with another key, where IDs are an external signer's", func(l *lab) []byte {
			return l.external.Sign(func() snapshot.Snapshot {
				s := l.external.Snapshot(now, nil, l.x)
				s.Keys = jwks.Set{must(jwks.NewWithID(l.b.Public(), l.x.ID()))}
				return s
			}())
		}),
		known(7, "key-owned-by-another-cluster", "owned", "a member of a shared issuer claims another's key", func(l *lab) []byte {
			return l.blue.Send(now, []snapshottest.Key{l.blueKey, l.greenKey}, l.blueKey)
		}),
		malformed(7, "two-keys-one-id", "duplicate-key", "two keys under one ID", func(l *lab) []byte {
			other := must(jwks.NewWithID(l.b.Public(), l.x.ID()))
			return l.keys(x(l) + "," + string(must(other.MarshalJSON())))
		}),
		malformed(8, "private-key-ec", "private-key", "an API server's private EC key", change(x, `"x":`, `"d":"AAAA","x":`)),
		malformed(8, "private-key-rsa", "private-key", "an API server's private RSA key", change(a, `"n":`, `"p":"AAAA","q":"AAAA","n":`)),
		malformed(9, "symmetric-key", "symmetric-key", "a shared secret", key(func(*lab) string { return `{"kty":"oct","kid":"k","k":"AAAA"}` })),
		malformed(9, "algorithm-of-another-kind", "malformed-key", "HS256 on an EC key", change(x, "ES256", "HS256")),
		malformed(9, "key-for-encryption", "malformed-key", "a key for encryption", change(x, `"use":"sig"`, `"use":"enc"`)),
		malformed(9, "key-operations", "malformed-key", "a key with operations", change(x, `"use"`, `"key_ops":["verify"],"use"`)),
		malformed(10, "weak-rsa-1024", "weak-key", "an RSA key of 1024 bits", forged(modulus(1024), 65537)),
		malformed(10, "weak-rsa-8192", "weak-key", "an RSA key that Vault refuses", forged(modulus(8192), 65537)),
		malformed(10, "weak-rsa-exponent-3", "weak-key", "an RSA key with the exponent 3", forged(modulus(2048), 3)),
		malformed(10, "weak-rsa-even-exponent", "weak-key", "an RSA key with an even exponent", forged(modulus(2048), 65538)),
		malformed(10, "weak-rsa-even-modulus", "weak-key", "an RSA key with an even modulus", forged(new(big.Int).SetBit(modulus(2048), 0, 0), 65537)),
		malformed(10, "ec-not-on-curve", "malformed-key", "a point that is not on its curve", key(func(*lab) string {
			one := base64.RawURLEncoding.EncodeToString(big.NewInt(1).FillBytes(make([]byte, 32)))
			return ec("k", "P-256", one, one, "")
		})),
		malformed(10, "ec-unsupported-curve", "unsupported-key", "a curve that no API server uses", key(func(*lab) string {
			return strings.Replace(ec("k", "secp256k1", "AAAA", "AAAA", ""), "ES256", "ES256K", 1)
		})),
		malformed(9, "ed25519-key", "unsupported-key", "a kind of key that no API server uses", key(func(*lab) string {
			return `{"kty":"OKP","kid":"k","use":"sig","alg":"EdDSA","crv":"Ed25519","x":"` + strings.Repeat("A", 43) + `"}`
		})),
		known(11, "keys-more-than-the-cluster-may", "too-many-keys", "17 keys, to crowd out others", func(l *lab) []byte { return l.prod.Send(now, many(17), l.b) }),
		malformed(11, "keys-more-than-an-issuer-may", "too-many-keys", "81 keys", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) {
				for _, k := range many(81 - len(s.Keys)) {
					s.Keys = append(s.Keys, k.Key)
				}
			})
		}),
		known(14, "keys-none", "no-keys", "no keys, to withdraw all", func(l *lab) []byte { return l.edit(func(s *snapshot.Snapshot) { s.Keys = nil }) }),
		known(14, "keys-only-revoked", "no-keys", "nothing but a revoked key", func(l *lab) []byte {
			l.operator(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{l.x.ID()}})
			return l.edit(func(s *snapshot.Snapshot) { s.Keys = jwks.Set{l.x.Key} })
		}),
	}
}

// spelling is about the one form that a snapshot has.
func spelling() []attack {
	rewrite := func(oldNew ...string) func(*lab) []byte { return func(l *lab) []byte { return l.rewrite(oldNew...) } }
	envelope := func(change func(parts []string) string) func(*lab) []byte {
		return func(l *lab) []byte { return []byte(change(strings.Split(string(l.prod.Sign(l.honest())), "."))) }
	}
	payload := func(change func(string) string) func(*lab) []byte {
		return func(l *lab) []byte { return l.raw("", change(l.payload(`"test"`, `"text"`))) }
	}
	large := attack{"too-large", vector{Row: 11, Attack: "one byte more than fits", Log: "too-large", Told: "too-large", Status: http.StatusRequestEntityTooLarge}, func(l *lab) []byte {
		return []byte(strings.Repeat("A", snapshot.MaxBytes+1))
	}}
	return []attack{
		large,
		malformed(12, "empty", "malformed", "nothing at all", func(*lab) []byte { return nil }),
		malformed(12, "jws-json", "malformed", "JSON serialization, where an unprotected header could rule", envelope(func(p []string) string {
			return fmt.Sprintf(`{"payload":%q,"protected":%q,"header":{"alg":"none"},"signature":%q}`, p[1], p[0], p[2])
		})),
		malformed(12, "jws-json-many-signatures", "malformed", "JSON serialization with two signatures", envelope(func(p []string) string {
			one := fmt.Sprintf(`{"protected":%q,"signature":%q}`, p[0], p[2])
			return fmt.Sprintf(`{"payload":%q,"signatures":[%s,%s]}`, p[1], one, one)
		})),
		malformed(12, "jwe-parts", "malformed", "five parts", envelope(func(p []string) string { return strings.Join(append(p, "e30", "e30"), ".") })),
		malformed(12, "trailing-newline", "malformed", "a line break after the signature", envelope(func(p []string) string { return strings.Join(p, ".") + "\n" })),
		malformed(12, "newline-in-payload", "malformed", "a line break in the payload, which Go's decoder ignores", envelope(func(p []string) string {
			return p[0] + "." + p[1][:4] + "\n" + p[1][4:] + "." + p[2]
		})),
		malformed(12, "padded", "malformed", "base64 with padding", envelope(func(p []string) string { return strings.Join(p, ".") + "==" })),
		malformed(12, "signature-trailing-bits", "malformed", "another spelling of the same signature", envelope(func(p []string) string {
			last := p[2][len(p[2])-1]
			i := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", last)
			return p[0] + "." + p[1] + "." + p[2][:len(p[2])-1] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[i|1])
		})),
		malformed(12, "signature-too-long", "malformed", "a signature of another length", envelope(func(p []string) string { return p[0] + "." + p[1] + "." + p[2] + "AAAA" })),
		malformed(12, "duplicate-name", "malformed", "the cluster named twice", rewrite(`{"iss":"prod"`, `{"iss":"blue","iss":"prod"`)),
		malformed(12, "duplicate-name-in-key", "malformed", "a key ID given twice", func(l *lab) []byte {
			return l.keys(strings.Replace(string(must(l.x.MarshalJSON())), `"kid"`, `"kid":"other","kid"`, 1))
		}),
		malformed(12, "duplicate-keys-member", "malformed", "two lists of keys", rewrite(`"jwks":{"keys":[`, `"jwks":{"keys":[],"keys":[`)),
		malformed(12, "name-in-capitals", "malformed", "a name that some decoders take for another", rewrite(`"iss":"prod"`, `"ISS":"prod"`)),
		malformed(12, "unknown-member", "malformed", "a member that is not known", rewrite(`{"iss"`, `{"revoke":["x"],"iss"`)),
		malformed(12, "tombstones", "malformed", "an attempt to revoke by snapshot", rewrite(`"exporter"`, `"tombstones":[],"exporter"`)),
		malformed(12, "white-space", "malformed", "white space between members", rewrite(`{"iss"`, `{ "iss"`)),
		malformed(12, "other-order", "malformed", "members in another order", rewrite(`{"iss":"prod","aud":["publisher"]`, `{"aud":["publisher"],"iss":"prod"`)),
		malformed(12, "number-with-fraction", "malformed", "a sequence number that is not an integer", rewrite(`"seq":`, `"seq":0.5e`)),
		malformed(12, "seq-as-string", "malformed", "a sequence number as a string", rewrite(`"apiServers":{"listed":1`, `"apiServers":{"listed":"1"`)),
		malformed(12, "escaped", "malformed", "another spelling of a name", rewrite(`"iss":"prod"`, `"iss":"pro\u0064"`)),
		malformed(12, "deep-nesting", "malformed", "ten thousand brackets", rewrite(`"exporter":"test"`, `"exporter":`+strings.Repeat("[", 10000)+strings.Repeat("]", 10000))),
		malformed(12, "trailing-data", "malformed", "a second value after the payload", payload(func(s string) string { return s + "{}" })),
		malformed(12, "byte-order-mark", "malformed", "a byte order mark", payload(func(s string) string { return "\ufeff" + s })),
		malformed(12, "not-utf-8", "malformed", "bytes that are not UTF-8", payload(func(s string) string { return strings.Replace(s, "text", "te\xfft", 1) })),
		malformed(12, "null", "malformed", "null", payload(func(string) string { return "null" })),
		malformed(12, "no-api-servers", "malformed", "complete, without having read any API server", rewrite(`{"listed":1,"read":1}`, `{"listed":0,"read":0}`)),
		malformed(12, "more-read-than-listed", "malformed", "more API servers read than there are", rewrite(`{"listed":1,"read":1}`, `{"listed":1,"read":2}`)),
	}
}

// headers is about the protected header and the key in "cnf".
func headers() []attack {
	header := func(oldNew ...string) func(*lab) []byte { return func(l *lab) []byte { return l.header(oldNew...) } }
	all := []attack{
		malformed(9, "alg-none", "header", "no signature", func(l *lab) []byte {
			parts := strings.Split(string(l.header("ES256", "none")), ".")
			return []byte(parts[0] + "." + parts[1] + ".")
		}),
		malformed(9, "alg-hs256", "header", "a shared secret's algorithm", header("ES256", "HS256")),
		malformed(9, "alg-rs256", "header", "another kind of key's algorithm", header("ES256", "RS256")),
		malformed(9, "typ-other", "header", "a token of another type", header(snapshot.Type, "JWT")),
		malformed(12, "header-order", "header", "the header in another order", func(l *lab) []byte {
			return l.raw(`{"typ":"`+snapshot.Type+`","alg":"ES256","kid":"`+l.prod.Signer.Key().ID()+`"}`, "")
		}),
		malformed(9, "kid-of-another-snapshot-key", "header", "a header that names another key than the payload shows", func(l *lab) []byte {
			return l.header(l.prod.Signer.Key().ID(), l.blue.Signer.Key().ID())
		}),
		malformed(9, "kid-as-path", "header", "a key ID that would be a path", func(l *lab) []byte { return l.header(l.prod.Signer.Key().ID(), "../../etc/passwd") }),
		malformed(9, "cnf-p384", "malformed", "a snapshot key of another kind", func(l *lab) []byte {
			other := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
			key := must(jwks.New(&other.PublicKey))
			return l.rewrite(string(must(l.prod.Signer.Key().MarshalJSON())), string(must(must(jwks.NewWithID(key.Public(), key.Thumbprint())).MarshalJSON())))
		}),
		malformed(7, "cnf-other-id", "malformed", "a snapshot key under a name that is not its thumbprint", func(l *lab) []byte {
			key := l.prod.Signer.Key()
			return l.rewrite(string(must(key.MarshalJSON())), string(must(must(jwks.New(key.Public())).MarshalJSON())))
		}),
		malformed(8, "cnf-private", "private-key", "the private snapshot key", func(l *lab) []byte {
			text := string(must(l.prod.Signer.Key().MarshalJSON()))
			return l.rewrite(text, strings.Replace(text, `"x":`, `"d":"AAAA","x":`, 1))
		}),
	}
	for name, value := range map[string]string{
		"jwk": `{}`, "jku": `"https://attacker.example/jwks"`, "x5u": `"https://attacker.example/x5u"`, "x5c": `[]`, "crit": `["b64"]`, "b64": `false`, "zip": `"DEF"`,
	} {
		all = append(all, malformed(13, "header-"+name, "header", "the header member "+name, header(`{"alg"`, `{"`+name+`":`+value+`,"alg"`)))
	}
	return all
}
