package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/protobuf/types/known/timestamppb"
	externaljwt "k8s.io/externaljwt/apis/v1"
)

const maxTokenSeconds = 24 * 60 * 60

// signer answers API servers.
type signer struct {
	externaljwt.UnimplementedExternalJWTSignerServer

	file string
}

// Sign answers with what goes before and after the claims in a token.
func (s *signer) Sign(_ context.Context, request *externaljwt.SignJWTRequest) (*externaljwt.SignJWTResponse, error) {
	claims, err := base64.RawURLEncoding.DecodeString(request.GetClaims())
	if err != nil {
		return nil, fmt.Errorf("the claims: %w", err)
	}
	keys, err := read(s.file)
	if err != nil {
		return nil, err
	}
	key, err := keys.signing()
	if err != nil {
		return nil, err
	}
	jws, err := key.jws()
	if err != nil {
		return nil, err
	}
	signed, err := jws.Sign(claims)
	if err != nil {
		return nil, err
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	header, rest, _ := strings.Cut(token, ".")
	_, signature, _ := strings.Cut(rest, ".")
	return &externaljwt.SignJWTResponse{Header: header, Signature: signature}, nil
}

// FetchKeys answers with every key that tokens are accepted by.
func (s *signer) FetchKeys(context.Context, *externaljwt.FetchKeysRequest) (*externaljwt.FetchKeysResponse, error) {
	keys, err := read(s.file)
	if err != nil {
		return nil, err
	}
	answer := &externaljwt.FetchKeysResponse{DataTimestamp: timestamppb.Now(), RefreshHintSeconds: keys.RefreshSeconds}
	for _, key := range keys.Keys {
		private, err := key.private()
		if err != nil {
			return nil, err
		}
		pkix, err := x509.MarshalPKIXPublicKey(private.Public())
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key.ID, err)
		}
		answer.Keys = append(answer.Keys, &externaljwt.Key{KeyId: key.ID, Key: pkix, ExcludeFromOidcDiscovery: key.Hidden})
	}
	return answer, nil
}

// Metadata answers with the longest life of a token, which API servers then hold all tokens to.
func (*signer) Metadata(context.Context, *externaljwt.MetadataRequest) (*externaljwt.MetadataResponse, error) {
	return &externaljwt.MetadataResponse{MaxTokenExpirationSeconds: maxTokenSeconds}, nil
}

func algorithmOf(private crypto.Signer) (jose.SignatureAlgorithm, error) {
	switch public := private.Public().(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
	}
	return "", fmt.Errorf("kube-apiserver accepts no tokens of %T keys", private.Public())
}
