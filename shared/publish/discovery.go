package publish

import (
	"slices"

	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
)

// discovery is the OpenID Provider Metadata (OpenID Connect Discovery 1.0 section 3) that every known consumer is content with.
type discovery struct {
	Issuer                string   `json:"issuer"`
	JWKSURI               string   `json:"jwks_uri"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	ResponseTypes         []string `json:"response_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	Claims                []string `json:"claims_supported"`
}

// discoveryDocument depends on the settings only. If it followed the published keys, it could be older than they are, and consumers
// that take the algorithms from it would refuse the first token of a new kind.
func discoveryDocument(settings enrollment.Issuer) []byte {
	data, err := json.Marshal(discovery{
		Issuer:                settings.URL,
		JWKSURI:               settings.URL + "/" + jwksPath,
		AuthorizationEndpoint: "urn:kubernetes:programmatic_authorization",
		ResponseTypes:         []string{"id_token"},
		SubjectTypes:          []string{"public"},
		Algorithms:            algorithms(settings),
		Claims:                []string{"sub", "iss"},
	})
	if err != nil {
		panic("publish: the discovery document is made of strings: " + err.Error())
	}
	return data
}

// algorithms are the two that both Google and AWS accept, and those of keys that the settings themselves list.
func algorithms(settings enrollment.Issuer) []string {
	if len(settings.Algorithms) > 0 {
		return settings.Algorithms
	}
	all := []string{"RS256", "ES256"}
	for _, c := range settings.Clusters {
		for _, key := range slices.Concat(c.BootstrapKeys, c.AnnouncedKeys) {
			all = append(all, key.Algorithm())
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
