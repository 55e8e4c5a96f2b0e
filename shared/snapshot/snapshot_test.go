package snapshot_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot/snapshottest"
)

var (
	now     = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	cluster = snapshottest.Cluster{ID: "prod", Issuer: "https://oidc.example.com/prod", ServiceAccount: "kube-iam-assume/cluster-exporter"}
	a, b    = snapshottest.NewRSAKey(), snapshottest.NewKey()
	rsa, ec = a.Key, b.Key
	want    = snapshot.Expected{Cluster: "prod", Publisher: "p", Issuer: cluster.Issuer}
)

func open(t *testing.T, envelope []byte) snapshot.Opened {
	t.Helper()
	opened, err := snapshot.Open(envelope)
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func TestSignThenOpen(t *testing.T) {
	e := cluster.NewExporter("p")
	s := e.Snapshot(now, []snapshottest.Key{a, b}, a)
	opened := open(t, e.Sign(s))
	if err := opened.Check(want, now); err != nil {
		t.Fatal(err)
	}
	s.Key = e.Signer.Key()
	s.Keys, _ = jwks.Union(s.Keys)
	if diff := cmp.Diff(s, opened.Snapshot, cmp.Comparer(jwks.Key.Equal)); diff != "" {
		t.Errorf("-signed +opened:\n%s", diff)
	}
}

// A signature can be remade; the statement stays the same.
func TestDigestIsOfTheStatement(t *testing.T) {
	e := cluster.NewExporter("p")
	s := e.Snapshot(now, []snapshottest.Key{a}, a)
	first, second := e.Sign(s), e.Sign(s)
	if bytes.Equal(first, second) {
		t.Fatal("ECDSA signed the same way twice")
	}
	if one, two := open(t, first), open(t, second); one.Digest != two.Digest {
		t.Errorf("digests %s and %s", one.Digest, two.Digest)
	}
}

func TestCheckRefuses(t *testing.T) {
	e := cluster.NewExporter("p")
	for name, test := range map[string]struct {
		change func(*snapshot.Snapshot)
		at     time.Time
		want   error
	}{
		"another cluster":    {func(s *snapshot.Snapshot) { s.Cluster = "dev" }, now, snapshot.ErrCluster},
		"another publisher":  {func(s *snapshot.Snapshot) { s.Audience = []string{"q"} }, now, snapshot.ErrAudience},
		"no publisher":       {func(s *snapshot.Snapshot) { s.Audience = nil }, now, snapshot.ErrAudience},
		"a trailing slash":   {func(s *snapshot.Snapshot) { s.Issuer += "/" }, now, snapshot.ErrIssuer},
		"expired":            {func(*snapshot.Snapshot) {}, now.Add(snapshot.Lifetime), snapshot.ErrExpired},
		"too long":           {func(s *snapshot.Snapshot) { s.Expires = s.IssuedAt.Add(snapshot.MaxLifetime + time.Second) }, now, snapshot.ErrTooLong},
		"made in the future": {func(*snapshot.Snapshot) {}, now.Add(-snapshot.MaxSkew - time.Second), snapshot.ErrFuture},
		"fast-forward":       {func(s *snapshot.Snapshot) { s.Seq = now.Add(snapshot.MaxSkew).UnixMilli() + 1 }, now, snapshot.ErrFuture},
	} {
		t.Run(name, func(t *testing.T) {
			s := e.Snapshot(now, []snapshottest.Key{a}, a)
			test.change(&s)
			if err := open(t, e.Sign(s)).Check(want, test.at); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestOpenRefusesEveryOtherForm(t *testing.T) {
	e, stranger := cluster.NewExporter("p"), cluster.NewExporter("p")
	envelope := string(e.Send(now, []snapshottest.Key{a}, a))
	parts := strings.Split(envelope, ".")
	foreign := strings.Split(string(stranger.Send(now, []snapshottest.Key{a}, a)), ".")
	payload := decode(t, parts[1])
	part := func(i int, with string) string {
		changed := append([]string(nil), parts...)
		changed[i] = with
		return strings.Join(changed, ".")
	}
	body := func(old, with string) string {
		if !strings.Contains(payload, old) {
			t.Fatalf("%q is not in the payload", old)
		}
		return part(1, encode(strings.Replace(payload, old, with, 1)))
	}
	for name, test := range map[string]struct {
		envelope string
		want     error
	}{
		"empty":                 {"", snapshot.ErrForm},
		"two parts":             {parts[0] + "." + parts[1], snapshot.ErrForm},
		"line break":            {envelope + "\n", snapshot.ErrForm},
		"JSON serialization":    {`{"payload":"` + parts[1] + `","signatures":[]}`, snapshot.ErrForm},
		"too large":             {strings.Repeat("A", snapshot.MaxBytes+1), snapshot.ErrTooLarge},
		"another header order":  {part(0, encode(`{"kid":"`+e.Signer.Key().ID()+`","alg":"ES256","typ":"`+snapshot.Type+`"}`)), snapshot.ErrHeader},
		"extra header member":   {part(0, encode(`{"alg":"ES256","jku":"https://x","kid":"`+e.Signer.Key().ID()+`","typ":"`+snapshot.Type+`"}`)), snapshot.ErrHeader},
		"algorithm none":        {part(0, encode(`{"alg":"none","kid":"`+e.Signer.Key().ID()+`","typ":"`+snapshot.Type+`"}`)), snapshot.ErrHeader},
		"another type":          {part(0, encode(`{"alg":"ES256","kid":"`+e.Signer.Key().ID()+`","typ":"JWT"}`)), snapshot.ErrHeader},
		"another's header":      {part(0, foreign[0]), snapshot.ErrHeader},
		"short signature":       {part(2, encode("short")), snapshot.ErrForm},
		"padding":               {envelope + "==", snapshot.ErrForm},
		"white space":           {body(`{"iss"`, `{ "iss"`), snapshot.ErrForm},
		"unknown member":        {body(`"exporter"`, `"revoke":[],"exporter"`), snapshot.ErrForm},
		"member twice":          {body(`"exporter"`, `"iss":"dev","exporter"`), snapshot.ErrForm},
		"member missing":        {body(`"seq"`, `"zeq"`), snapshot.ErrForm},
		"seq as a string":       {body(`"apiServers":{"listed":1`, `"apiServers":{"listed":"1"`), snapshot.ErrForm},
		"more read than listed": {body(`"read":1`, `"read":2`), snapshot.ErrForm},
		"no server read":        {body(`"read":1`, `"read":0`), snapshot.ErrForm},
		"private key":           {body(`"use":"sig"`, `"d":"AA","use":"sig"`), jwks.ErrPrivate},
		"symmetric key":         {body(`"kty":"RSA"`, `"kty":"oct"`), jwks.ErrSymmetric},
		"snapshot key of RSA":   {part(1, encode(withConfirmation(payload, string(must(rsa.MarshalJSON()))))), snapshot.ErrForm},
		"snapshot key's ID":     {part(1, encode(withConfirmation(payload, string(must(ec.MarshalJSON()))))), snapshot.ErrForm},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := snapshot.Open([]byte(test.envelope)); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	if err := open(t, []byte(part(2, foreign[2]))).Check(want, now); !errors.Is(err, snapshot.ErrSignature) {
		t.Errorf("another's signature: %v", err)
	}
}

func TestBelieve(t *testing.T) {
	e := cluster.NewExporter("p")
	trust := snapshot.Trust{Issuer: cluster.Issuer, ServiceAccount: cluster.ServiceAccount, Vouchers: jwks.Set{rsa}, Acquainted: jwks.Set{ec}}
	claims := func(member string, value any) []string {
		c := cluster.Claims(e.Signer.Key(), now)
		c[member] = value
		return []string{snapshottest.Token(a, c)}
	}
	audience := snapshot.AttestationAudience(e.Signer.Key())
	forged := snapshottest.Key{Key: rsa, Private: snapshottest.NewRSAKey().Private}
	good := cluster.Attest(a, e.Signer.Key(), now)
	for name, test := range map[string]struct {
		attestations []string
		want         error
		known        bool
	}{
		"attested":                  {[]string{good}, nil, true},
		"an unknown key beside it":  {[]string{cluster.Attest(snapshottest.NewKey(), e.Signer.Key(), now), good}, nil, true},
		"one audience as a string":  {claims("aud", audience), nil, true},
		"nothing":                   {nil, snapshot.ErrNotBelieved, false},
		"an unknown key":            {[]string{cluster.Attest(snapshottest.NewKey(), e.Signer.Key(), now)}, snapshot.ErrNotBelieved, false},
		"a key out of use":          {[]string{cluster.Attest(b, e.Signer.Key(), now)}, snapshot.ErrNotBelieved, true},
		"forged under a known ID":   {[]string{cluster.Attest(forged, e.Signer.Key(), now)}, snapshot.ErrAttestation, false},
		"good and forged":           {[]string{good, cluster.Attest(forged, e.Signer.Key(), now)}, snapshot.ErrAttestation, true},
		"for another snapshot key":  {[]string{cluster.Attest(a, must(snapshot.NewSigner()).Key(), now)}, snapshot.ErrAttestation, true},
		"two audiences":             {claims("aud", []string{audience, "sts.amazonaws.com"}), snapshot.ErrAttestation, true},
		"another audience":          {claims("aud", []string{"sts.amazonaws.com"}), snapshot.ErrAttestation, true},
		"another service account":   {claims("sub", "system:serviceaccount:default:default"), snapshot.ErrAttestation, true},
		"another issuer":            {claims("iss", "kubernetes/serviceaccount"), snapshot.ErrAttestation, true},
		"expired":                   {claims("exp", now.Unix()), snapshot.ErrAttestation, true},
		"never expires":             {claims("exp", 0), snapshot.ErrAttestation, true},
		"valid for two hours":       {claims("exp", now.Add(2*time.Hour).Unix()), snapshot.ErrAttestation, true},
		"not yet valid":             {claims("nbf", now.Add(6*time.Minute).Unix()), snapshot.ErrAttestation, true},
		"bound to a pod":            {claims("kubernetes.io", map[string]any{"pod": map[string]any{"name": "p"}}), snapshot.ErrAttestation, true},
		"not a token":               {[]string{"x"}, snapshot.ErrAttestation, false},
		"algorithm of another kind": {[]string{strings.Replace(good, encode(`{"alg":"RS256"`)[:12], encode(`{"alg":"ES256"`)[:12], 1)}, snapshot.ErrAttestation, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := e.Snapshot(now, []snapshottest.Key{a})
			s.Attestations = test.attestations
			belief, err := open(t, e.Sign(s)).Believe(trust, now)
			if !errors.Is(err, test.want) || belief.Known != test.known {
				t.Errorf("got %v, known %v; want %v, known %v", err, belief.Known, test.want, test.known)
			}
		})
	}
}

func TestRememberedAndPinned(t *testing.T) {
	e := cluster.NewExporter("p")
	opened := open(t, e.Send(now, []snapshottest.Key{a}))
	remembered := snapshot.Remember{Thumbprint: e.Signer.Key().ID(), Attested: now.Add(-23 * time.Hour), VouchedBy: []string{a.SPKI()}}
	for name, test := range map[string]struct {
		trust snapshot.Trust
		how   string
	}{
		"remembered": {snapshot.Trust{Remembered: []snapshot.Remember{remembered}}, snapshot.Remembered},
		"forgotten":  {snapshot.Trust{Remembered: []snapshot.Remember{{Thumbprint: remembered.Thumbprint, Attested: now.Add(-24 * time.Hour)}}}, ""},
		"pinned":     {snapshot.Trust{Pinned: jwks.Set{e.Signer.Key()}}, snapshot.Pinned},
	} {
		belief, err := opened.Believe(test.trust, now)
		if belief.How != test.how || errors.Is(err, snapshot.ErrNotBelieved) != (test.how == "") {
			t.Errorf("%s: %+v, %v", name, belief, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	envelope := cluster.NewExporter("p").Send(now, []snapshottest.Key{a, b}, a)
	f.Add(decodeBytes(string(envelope)))
	f.Add([]byte(`{"iss":"prod"}`))
	parts := strings.Split(string(envelope), ".")
	f.Fuzz(func(t *testing.T, payload []byte) {
		changed := parts[0] + "." + encode(string(payload)) + "." + parts[2]
		opened, err := snapshot.Open([]byte(changed))
		if err == nil && opened.Check(want, now) == nil && changed != string(envelope) {
			t.Fatalf("two statements under one signature: %q", payload)
		}
	})
}

func withConfirmation(payload, jwk string) string {
	i, j := strings.Index(payload, `"cnf":`), strings.Index(payload, `,"attestations"`)
	return payload[:i] + `"cnf":{"jwk":` + jwk + "}" + payload[j:]
}

func encode(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func decode(t *testing.T, s string) string {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func decodeBytes(envelope string) []byte {
	return must(base64.RawURLEncoding.DecodeString(strings.Split(envelope, ".")[1]))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
