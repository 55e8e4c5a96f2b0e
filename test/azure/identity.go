package azure

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// An Identity is a user-assigned identity as App Service and Azure Functions give it to a program: by an HTTP endpoint on the machine,
// which wants a secret header (API version 2019-08-01).
type Identity struct {
	ClientID string
	Tenant   string

	endpoint, secret string
	signer           jose.Signer
	tokens           atomic.Int64
}

// StartIdentity starts an endpoint. It ends with the test.
func StartIdentity(t testing.TB) (*Identity, error) {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	// The resource that gets the token can't verify it here, so any signature will do.
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp4", host+":0")
	if err != nil {
		return nil, err
	}
	i := &Identity{
		ClientID: "7c3f8a52-9d10-4be5-8f8e-2a1f6f1f0c11", Tenant: "5d2c1b3a-6f77-4a38-9a55-0c7d0a7f4e22",
		endpoint: "http://" + listener.Addr().String() + "/msi/token", secret: rand.Text(), signer: signer,
	}
	server := &http.Server{Handler: i, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // until it is closed
	t.Cleanup(func() { _ = server.Close() })
	return i, nil
}

// Environment is what the platform sets, and AZURE_CLIENT_ID, by which a deploy says which identity is meant.
func (i *Identity) Environment() []string {
	return []string{"IDENTITY_ENDPOINT=" + i.endpoint, "IDENTITY_HEADER=" + i.secret, "AZURE_CLIENT_ID=" + i.ClientID}
}

// Tokens is how many were given.
func (i *Identity) Tokens() int { return int(i.tokens.Load()) }

// ServeHTTP implements http.Handler.
func (i *Identity) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case r.Method != http.MethodGet || r.URL.Path != "/msi/token" || query.Get("api-version") != "2019-08-01":
		http.Error(w, "not the identity endpoint", http.StatusNotFound)
		return
	case r.Header.Get("X-IDENTITY-HEADER") != i.secret:
		http.Error(w, "the header X-IDENTITY-HEADER is not this machine's", http.StatusUnauthorized)
		return
	case query.Get("client_id") != i.ClientID:
		refuseIdentity(w, "No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId.")
		return
	case query.Get("resource") == "":
		refuseIdentity(w, "the parameter resource is missing")
		return
	}
	now := time.Now()
	token, err := i.token(query.Get("resource"), now)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	i.tokens.Add(1)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{ // the asker may be gone
		"access_token": token, "client_id": i.ClientID, "token_type": "Bearer", "resource": query.Get("resource"),
		"expires_on": strconv.FormatInt(now.Add(time.Hour).Unix(), 10),
	})
}

func refuseIdentity(w http.ResponseWriter, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]any{"statusCode": http.StatusBadRequest, "message": message})
}

func (i *Identity) token(resource string, now time.Time) (string, error) {
	token, err := jwt.Signed(i.signer).Claims(map[string]any{
		"aud": resource, "iss": "https://sts.windows.net/" + i.Tenant + "/", "tid": i.Tenant, "appid": i.ClientID,
		"iat": now.Unix(), "nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(time.Hour).Unix(), "ver": "1.0",
	}).Serialize()
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return token, nil
}
