package snapshot

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// payload is the JSON of a Snapshot. The order of the members is part of the form.
type payload struct {
	Iss          string       `json:"iss"`
	Aud          []string     `json:"aud"`
	Issuer       string       `json:"issuer"`
	Seq          int64        `json:"seq"`
	Iat          int64        `json:"iat"`
	Exp          int64        `json:"exp"`
	APIServers   APIServers   `json:"apiServers"`
	JWKS         keySet       `json:"jwks"`
	Cnf          confirmation `json:"cnf"`
	Attestations []string     `json:"attestations"`
	Exporter     string       `json:"exporter"`
}

// confirmation is the "cnf" of RFC 7800.
type confirmation struct {
	JWK jwks.Key `json:"jwk"`
}

type keySet struct{ jwks.Set }

func (s keySet) MarshalJSON() ([]byte, error) { return s.Canonical(), nil }

func (s *keySet) UnmarshalJSON(data []byte) (err error) {
	s.Set, err = jwks.Parse(data)
	return err
}

func (s Snapshot) encode() ([]byte, error) {
	return json.Marshal(payload{
		Iss: s.Cluster, Aud: s.Audience, Issuer: s.Issuer,
		Seq: s.Seq, Iat: s.IssuedAt.Unix(), Exp: s.Expires.Unix(),
		APIServers: s.APIServers, JWKS: keySet{s.Keys}, Cnf: confirmation{s.Key},
		Attestations: s.Attestations, Exporter: s.Exporter,
	})
}

func decode(data []byte) (Snapshot, error) {
	var p payload
	if err := json.Unmarshal(data, &p, json.RejectUnknownMembers(true)); err != nil {
		return Snapshot{}, formError(err)
	}
	s := Snapshot{
		Cluster: p.Iss, Audience: p.Aud, Issuer: p.Issuer,
		Seq: p.Seq, IssuedAt: time.Unix(p.Iat, 0).UTC(), Expires: time.Unix(p.Exp, 0).UTC(),
		APIServers: p.APIServers, Keys: p.JWKS.Set, Key: p.Cnf.JWK,
		Attestations: p.Attestations, Exporter: p.Exporter,
	}
	if p.Cnf.JWK.ID() == "" {
		return Snapshot{}, fmt.Errorf(`%w: no snapshot key in "cnf"`, ErrForm)
	}
	if again, err := s.encode(); err != nil || !slices.Equal(again, data) {
		return Snapshot{}, fmt.Errorf("%w: the payload is not in canonical form", ErrForm)
	}
	return s, s.checkForm()
}

// checkForm is what holds for every snapshot, whoever it is from.
func (s Snapshot) checkForm() error {
	switch {
	case s.Key.Algorithm() != "ES256":
		return fmt.Errorf("%w: the snapshot key is for %s, want ES256", ErrForm, s.Key.Algorithm())
	case s.Key.ID() != s.Key.Thumbprint():
		return fmt.Errorf("%w: the ID of the snapshot key is not its RFC 7638 thumbprint", ErrForm)
	case len(s.Attestations) > MaxAttestations:
		return fmt.Errorf("%w: %d attestations, at most %d", ErrForm, len(s.Attestations), MaxAttestations)
	case s.APIServers.Listed < 1, s.APIServers.Read < 1, s.APIServers.Read > s.APIServers.Listed:
		return fmt.Errorf("%w: %d of %d API servers read", ErrForm, s.APIServers.Read, s.APIServers.Listed)
	case !s.Expires.After(s.IssuedAt):
		return fmt.Errorf("%w: it expires before it was made", ErrForm)
	}
	return nil
}
