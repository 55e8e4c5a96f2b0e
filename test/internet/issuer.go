package internet

import (
	"encoding/json"
	"net/http"
	"net/url"
)

// Issuer serves an issuer's documents: discovery, and the keys that the function returns, in the form of a JWK Set.
func (n *Internet) Issuer(issuer string, keys func() []byte) (stop func()) {
	n.t.Helper()
	u, err := url.Parse(issuer)
	if err != nil {
		n.t.Fatal(err)
	}
	discovery, err := json.Marshal(map[string]any{
		"issuer": issuer, "jwks_uri": issuer + "/openid/v1/jwks", "response_types_supported": []string{"id_token"},
		"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"RS256", "ES256"},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	mux := http.NewServeMux()
	for path, document := range map[string]func() []byte{"/.well-known/openid-configuration": func() []byte { return discovery }, "/openid/v1/jwks": keys} {
		mux.HandleFunc("GET "+u.Path+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(document())
		})
	}
	return n.Serve(mux, u.Hostname())
}
