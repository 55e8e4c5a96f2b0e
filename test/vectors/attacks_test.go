package vectors

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

// attack is a vector and how its envelope comes about.
type attack struct {
	file string
	vector
	make func(*lab) []byte
}

func attacks() []attack {
	var all []attack
	for _, some := range [][]attack{order(), names(), belief(), contents(), spelling(), headers()} {
		all = append(all, some...)
	}
	return all
}

// stranger is refused before belief: told only what anybody is told.
func stranger(row int, file, log, what string, make func(*lab) []byte) attack {
	return attack{file, vector{Row: row, Attack: what, Log: log, Told: "not-believed", Status: http.StatusForbidden}, make}
}

// malformed is refused for its form.
func malformed(row int, file, log, what string, make func(*lab) []byte) attack {
	return attack{file, vector{Row: row, Attack: what, Log: log, Told: "malformed", Status: http.StatusBadRequest}, make}
}

// known is refused after some key of the cluster was seen, so the sender is told why.
func known(row int, file, code, what string, make func(*lab) []byte) attack {
	return attack{file, vector{Row: row, Attack: what, Log: code, Told: code, Status: http.StatusForbidden}, make}
}

// contradicted is one that what was accepted before stands against.
func contradicted(row int, file, code, what string, make func(*lab) []byte) attack {
	return attack{file, vector{Row: row, Attack: what, Log: code, Told: code, Status: http.StatusConflict}, make}
}

// harmless is answered with 200.
func harmless(row int, file, log, what string, make func(*lab) []byte) attack {
	return attack{file, vector{Row: row, Attack: what, Log: log, Status: http.StatusOK}, make}
}

func at(t time.Time, s *snapshot.Snapshot) {
	s.Seq, s.IssuedAt, s.Expires = t.UnixMilli(), t, t.Add(snapshot.Lifetime)
}

// order is about time and repetition.
func order() []attack {
	replay := func(l *lab) []byte {
		envelope := l.prod.Sign(l.honest())
		l.first(envelope)
		return envelope
	}
	late := func(l *lab) []byte {
		l.first(l.prod.Sign(l.honest()))
		return l.edit(func(s *snapshot.Snapshot) { at(now.Add(-30*time.Second), s) })
	}
	stays := harmless(14, "keys-all-replaced", "keys.replaced", "mass removal: every key replaced at once; the old ones stay for the retention", func(l *lab) []byte {
		return l.edit(func(s *snapshot.Snapshot) { s.Keys = jwks.Set{l.x.Key} })
	})
	stays.Keeps = "a"
	return []attack{
		harmless(1, "replay", "unchanged", "the same snapshot again", replay),
		harmless(18, "replay-resigned", "unchanged", "the same statement with another signature, as queues and retries may bring it", func(l *lab) []byte {
			envelope := string(replay(l))
			return l.seal(envelope[:strings.LastIndexByte(envelope, '.')])
		}),
		contradicted(1, "fork", "fork", "another statement under the same sequence number", func(l *lab) []byte {
			s := l.honest()
			l.first(l.prod.Sign(s))
			s.Exporter = "another"
			return l.prod.Sign(s)
		}),
		contradicted(2, "rollback", "superseded", "an older snapshot that was never seen", late),
		contradicted(18, "reordered", "superseded", "an older snapshot that a queue held back, seen before", func(l *lab) []byte {
			envelope := l.edit(func(s *snapshot.Snapshot) { at(now.Add(-30*time.Second), s) })
			l.first(envelope)
			l.first(l.prod.Sign(l.honest()))
			return envelope
		}),
		stranger(3, "fast-forward-seq", "future", "a sequence number far ahead, to lock the cluster out", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Seq = now.Add(snapshot.MaxSkew).UnixMilli() + 1 })
		}),
		stranger(3, "fast-forward-end-of-time", "future", "the highest sequence number there is", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Seq = 1<<63 - 1 })
		}),
		stranger(15, "made-in-the-future", "future", "the cluster's clock is more than 5 minutes ahead", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) {
				s.IssuedAt = now.Add(snapshot.MaxSkew + time.Second)
				s.Expires = s.IssuedAt.Add(snapshot.Lifetime)
			})
		}),
		stranger(4, "expired", "expired", "a snapshot that was held back until it expired", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { at(now.Add(-snapshot.Lifetime), s) })
		}),
		stranger(4, "valid-too-long", "valid-too-long", "a snapshot to keep for later", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Expires = s.IssuedAt.Add(snapshot.MaxLifetime + time.Second) })
		}),
		malformed(15, "expires-before-made", "malformed", "the times are in the wrong order", func(l *lab) []byte {
			return l.rewrite(fmt.Sprintf(`"iat":%d`, now.Unix()), fmt.Sprintf(`"iat":%d`, now.Add(time.Hour).Unix()))
		}),
		stays,
	}
}

// names is about whom a snapshot is of and for.
func names() []attack {
	edit := func(change func(*snapshot.Snapshot)) func(*lab) []byte {
		return func(l *lab) []byte { return l.edit(change) }
	}
	return []attack{
		stranger(5, "cluster-unknown", "unknown-cluster", "a cluster that is not enrolled", edit(func(s *snapshot.Snapshot) { s.Cluster = "nobody" })),
		stranger(5, "cluster-path", "unknown-cluster", "a cluster ID that would be a path", edit(func(s *snapshot.Snapshot) { s.Cluster = "../shared" })),
		stranger(5, "cluster-of-another-issuer", "issuer", "another cluster's ID", edit(func(s *snapshot.Snapshot) { s.Cluster = "blue" })),
		stranger(5, "mix-and-match", "not-believed", "another cluster's ID and issuer, vouched for by the sender's own API server", func(l *lab) []byte {
			return l.edit(func(s *snapshot.Snapshot) { s.Cluster, s.Issuer = "blue", l.blue.Issuer })
		}),
		stranger(5, "other-member-of-a-shared-issuer", "not-believed", "a member of a shared issuer speaks for another", func(l *lab) []byte {
			s := l.blue.Snapshot(now, []snapshottest.Key{l.blueKey}, l.blueKey)
			s.Cluster = "green"
			return l.blue.Sign(s)
		}),
		stranger(6, "audience-other", "audience", "for another publisher", edit(func(s *snapshot.Snapshot) { s.Audience = []string{"staging"} })),
		stranger(6, "audience-none", "audience", "for no publisher", edit(func(s *snapshot.Snapshot) { s.Audience = []string{} })),
		stranger(13, "issuer-other-host", "issuer", "an issuer URL of the attacker's", edit(func(s *snapshot.Snapshot) { s.Issuer = "https://attacker.example/prod" })),
		stranger(13, "issuer-trailing-slash", "issuer", "an issuer URL that only looks the same", edit(func(s *snapshot.Snapshot) { s.Issuer += "/" })),
		known(0, "generation-rolled-back", "generation", "the cluster was re-enrolled and then an older deploy came back", func(l *lab) []byte {
			l.steps = append(l.steps, step{Generation: 2, Envelope: string(l.prod.Send(now, []snapshottest.Key{l.a, l.b}, l.a))})
			return l.attested(l.a, nil)
		}),
		known(0, "cluster-removed", "not-believed", "the cluster was removed, and with it the trust in its keys", func(l *lab) []byte {
			l.operator(rotation.Statement{Action: rotation.Remove})
			return l.prod.Sign(l.honest())
		}),
	}
}

// belief is about who vouches for the snapshot key.
func belief() []attack {
	claims := func(change map[string]any) func(*lab) []byte {
		return func(l *lab) []byte { return l.attested(l.b, change) }
	}
	elsewhere := func(l *lab) jwks.Key { return l.blue.Signer.Key() }
	return []attack{
		stranger(16, "attested-by-nobody", "not-believed", "whoever can reach the webhook or the queue, with a key of his own", func(l *lab) []byte {
			thief := l.prod.NewExporter("publisher")
			return thief.Sign(thief.Snapshot(now, []snapshottest.Key{l.a, l.x}))
		}),
		stranger(17, "attested-by-its-own-key", "not-believed", "a thief's key vouches for itself", func(l *lab) []byte {
			thief := l.prod.NewExporter("publisher")
			return thief.Sign(thief.Snapshot(now, []snapshottest.Key{l.a, l.b, l.x}, l.x))
		}),
		stranger(17, "attested-by-a-revoked-key", "not-believed", "the snapshot key was vouched for by a key that leaked and was revoked", func(l *lab) []byte {
			l.operator(rotation.Statement{Action: rotation.Revoke, KeyIDs: []string{l.b.ID()}})
			return l.prod.NewExporter("publisher").Send(now, []snapshottest.Key{l.a, l.x}, l.b)
		}),
		known(17, "attested-by-a-retiring-key", "not-believed", "the key that vouches is on its way out", func(l *lab) []byte {
			l.first(l.prod.Send(now, []snapshottest.Key{l.b}, l.b))
			return l.prod.NewExporter("publisher").Send(now.Add(time.Second), []snapshottest.Key{l.a, l.b}, l.a)
		}),
		known(0, "attestation-of-another-key", "attestation", "an attestation taken from another snapshot", func(l *lab) []byte {
			return l.attested(l.b, map[string]any{"aud": []string{snapshot.AttestationAudience(elsewhere(l))}})
		}),
		known(0, "attestation-audience-other", "attestation", "any service account token of the exporter", claims(map[string]any{"aud": []string{"sts.amazonaws.com"}})),
		known(0, "attestation-two-audiences", "attestation", "a token that is good for something else too", func(l *lab) []byte {
			return l.attested(l.b, map[string]any{"aud": []string{snapshot.AttestationAudience(l.prod.Signer.Key()), "sts.amazonaws.com"}})
		}),
		known(0, "attestation-other-account", "attestation", "a token of another service account", claims(map[string]any{"sub": "system:serviceaccount:default:default"})),
		known(0, "attestation-other-issuer", "attestation", "a token that names another issuer", claims(map[string]any{"iss": "https://oidc.example.com/other"})),
		known(0, "attestation-expired", "attestation", "an attestation that expired", claims(map[string]any{
			"iat": now.Add(-20 * time.Minute).Unix(), "exp": now.Unix(),
		})),
		known(0, "attestation-valid-too-long", "attestation", "a token for longer than an hour", claims(map[string]any{"exp": now.Add(time.Hour + time.Second).Unix()})),
		known(0, "attestation-from-the-future", "attestation", "an attestation to use later", claims(map[string]any{
			"nbf": now.Add(6 * time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		})),
		known(0, "attestation-bound-to-a-pod", "attestation", "a token from a projected volume", claims(map[string]any{
			"kubernetes.io": map[string]any{"namespace": "prod", "pod": map[string]any{"name": "p", "uid": "1"}},
		})),
		known(0, "attestation-one-good-one-bad", "attestation", "a good attestation beside one that does not hold", func(l *lab) []byte {
			key := l.prod.Signer.Key()
			return l.withAttestations(l.prod.Attest(l.a, key, now), l.prod.Attest(l.b, elsewhere(l), now))
		}),
		stranger(0, "attestation-forged", "attestation", "a token that names a trusted key and is signed by another", func(l *lab) []byte {
			return l.withAttestations(l.stolen(jose.ES256, l.x.Private))
		}),
		stranger(9, "attestation-hs256", "attestation", "a token signed with the public key as a shared secret", func(l *lab) []byte {
			return l.withAttestations(l.stolen(jose.HS256, jwks.Set{l.b.Key}.Encode()))
		}),
		stranger(9, "attestation-alg-none", "attestation", "a token without a signature", func(l *lab) []byte {
			token := strings.Split(l.stolen(jose.ES256, l.x.Private), ".")
			return l.withAttestations(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+l.b.ID()+`"}`)) + "." + token[1] + ".")
		}),
		stranger(9, "attestation-alg-of-another-kind", "attestation", "a token that names an RSA key and is signed as ES256", func(l *lab) []byte {
			return l.withAttestations(snapshottest.Token(snapshottest.Key{Key: must(jwks.NewWithID(l.x.Public(), l.a.ID())), Private: l.x.Private}, l.prod.Claims(l.prod.Signer.Key(), now)))
		}),
		stranger(0, "attestation-not-a-token", "attestation", "something else than a token", func(l *lab) []byte { return l.withAttestations("e30") }),
		malformed(11, "attestations-too-many", "malformed", "nine attestations, to make the publisher compute", func(l *lab) []byte {
			token := l.prod.Attest(l.b, l.prod.Signer.Key(), now)
			return l.rewrite(`"attestations":["`, `"attestations":[`+strings.Repeat(`"`+token+`",`, 8)+`"`)
		}),
		stranger(0, "signature-by-another-key", "signature", "the envelope is not signed by the snapshot key it shows", func(l *lab) []byte {
			envelope := l.prod.Sign(l.honest())
			l2 := *l
			l2.private = must(newPrivate())
			return l2.seal(string(envelope[:strings.LastIndexByte(string(envelope), '.')]))
		}),
		stranger(0, "payload-changed", "signature", "somebody on the way adds a word", func(l *lab) []byte {
			honest := strings.Split(string(l.prod.Sign(l.honest())), ".")
			other := strings.Split(string(l.rewrite(`"exporter":"test"`, `"exporter":"evil"`)), ".")
			return []byte(honest[0] + "." + other[1] + "." + honest[2])
		}),
	}
}
