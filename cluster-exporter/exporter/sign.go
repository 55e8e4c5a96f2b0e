package exporter

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kube-iam-assume/kube-iam-assume/shared/snapshot"
)

// signer makes snapshots of readings with the replica's snapshot key.
type signer struct {
	settings Settings
	key      *snapshot.Signer
	version  string
	now      func() time.Time
	report   *reporter
}

// sign makes a snapshot of a reading, attested just now. It may be believed for as long as the reading is fresh.
func (s *signer) sign(ctx context.Context, reading *Reading, publisher string, seq int64) ([]byte, error) {
	attestations := s.attest(ctx, reading)
	claims := snapshot.Snapshot{
		Cluster: s.settings.Cluster, Audience: []string{publisher}, Issuer: s.settings.Issuer, Seq: seq,
		IssuedAt: s.now(), Expires: reading.Began.Add(snapshot.Lifetime), APIServers: reading.APIServers, Keys: reading.Keys,
		Attestations: attestations, Exporter: s.version,
	}
	envelope, err := s.key.Sign(claims)
	for errors.Is(err, snapshot.ErrTooLarge) && len(claims.Attestations) > 1 { // distinct keys come first: the last is the least missed
		claims.Attestations = claims.Attestations[:len(claims.Attestations)-1]
		envelope, err = s.key.Sign(claims)
	}
	return envelope, err
}

// attest has every API server that was read vouch for the snapshot key.
func (s *signer) attest(ctx context.Context, reading *Reading) []string {
	namespace, name := s.settings.namespaceAndName()
	audience := snapshot.AttestationAudience(s.key.Key())
	words := make([]word, len(reading.Servers))
	var all sync.WaitGroup
	for i, server := range reading.Servers {
		words[i].address = server.Address
		if !server.counts(s.settings.Issuer) {
			continue
		}
		words[i].asked = true
		all.Go(func() {
			words[i].token, words[i].keyID, words[i].err = server.server.attest(ctx, namespace, name, audience)
			words[i].listed = words[i].err == nil && s.listed(ctx, reading, server, words[i].keyID)
		})
	}
	all.Wait()
	if ctx.Err() == nil {
		s.report.attested(words)
	}
	return choose(words)
}

// listed reports whether an API server lists the key that it signs with. If not it is read again: it may have been restarted with other
// keys since.
func (s *signer) listed(ctx context.Context, reading *Reading, server ServerReading, keyID string) bool {
	keys := server.Keys
	if s.settings.APIServers.Expect > 0 { // nobody knows which API server vouched
		keys = reading.Keys
	}
	if _, ok := keys.ByID(keyID); ok {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, serverTimeout)
	defer cancel()
	again := server.server.read(ctx, s.now)
	_, ok := again.Keys.ByID(keyID)
	return ok || again.Err != nil
}

// word is what an API server said when it was asked to vouch.
type word struct {
	address string
	asked   bool
	token   string
	keyID   string
	listed  bool // among the keys that it publishes
	err     error
}

// choose takes as many tokens as fit, those by distinct keys first: a publisher needs one by a key that it trusts.
func choose(words []word) []string {
	var first, rest []string
	seen := map[string]bool{}
	for _, w := range words {
		switch {
		case w.token == "":
		case seen[w.keyID]:
			rest = append(rest, w.token)
		default:
			seen[w.keyID] = true
			first = append(first, w.token)
		}
	}
	tokens := append(first, rest...)
	return tokens[:min(len(tokens), snapshot.MaxAttestations)]
}
