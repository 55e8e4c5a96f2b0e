package provision

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/cloudformation"
)

// serviceAudience is the audience of the tokens below.
const serviceAudience = "sts.amazonaws.com"

// principals lets services of AWS assume roles in versitygw, which knows no AssumeRole: a service is a subject of an identity provider of its own,
// and a trust policy that names the service names this subject instead. Sessions are then as real as any workload's.
type principals struct {
	host   string
	signer jose.Signer
	keys   jose.JSONWebKeySet
}

func newPrincipals(host string) (*principals, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	const id = "services"
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		return nil, err
	}
	public := jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
	return &principals{host, signer, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{public}}}, nil
}

func (p *principals) issuer() string { return "https://" + p.host }

// ServeHTTP publishes the documents by which versitygw verifies the tokens.
func (p *principals) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var document any = p.keys
	if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
		document = map[string]string{"issuer": p.issuer(), "jwks_uri": p.issuer() + "/keys"}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document) // whoever hangs up gets nothing
}

func (p *principals) token(principal string) (string, error) {
	now := time.Now()
	return jwt.Signed(p.signer).Claims(jwt.Claims{
		Issuer: p.issuer(), Subject: principal, Audience: jwt.Audience{serviceAudience}, IssuedAt: jwt.NewNumericDate(now),
		Expiry: jwt.NewNumericDate(now.Add(5 * time.Minute)),
	}).Serialize()
}

// trust translates a trust policy for versitygw: whoever is not federated is a subject of the services' provider. Conditions on the
// source of a service's call hold here by construction, for there is one account.
func (a *Account) trust(document any) (string, error) {
	text, isText := document.(string)
	if isText {
		document = nil
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			return "", fmt.Errorf("the trust policy is no JSON: %w", err)
		}
	}
	object, _ := document.(map[string]any)
	var statements []any
	for _, each := range listOf(object["Statement"]) {
		statement, _ := each.(map[string]any)
		principal, _ := statement["Principal"].(map[string]any)
		if _, federated := principal["Federated"]; federated {
			statements = append(statements, statement)
			continue
		}
		var subjects []any
		for _, kind := range []string{"Service", "AWS"} {
			subjects = append(subjects, listOf(principal[kind])...)
		}
		if len(subjects) == 0 || statement["Effect"] != "Allow" {
			return "", fmt.Errorf("a statement of the trust policy can't be had here: %v", statement)
		}
		statements = append(statements, map[string]any{
			"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity", "Principal": map[string]any{"Federated": a.providerARN(a.principals.host)},
			"Condition": map[string]any{"StringEquals": map[string]any{a.principals.host + ":sub": subjects}},
		})
	}
	data, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	return string(data), err
}

// listOf makes a list of what may be one value or a list.
func listOf(value any) []any {
	switch v := value.(type) {
	case nil:
		return nil
	case []any:
		return v
	}
	return []any{value}
}

// assume gives a service the credentials of a role that trusts it.
func (a *Account) assume(ctx context.Context, roleARN, principal, session string) (cloudformation.Credentials, error) {
	token, err := a.principals.token(principal)
	if err != nil {
		return cloudformation.Credentials{}, err
	}
	answer, err := a.options.STS.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &roleARN, RoleSessionName: &session, WebIdentityToken: &token,
	})
	if err != nil {
		return cloudformation.Credentials{}, fmt.Errorf("%s can't assume %s: %w", principal, roleARN, err)
	}
	c := answer.Credentials
	a.remember(*c.AccessKeyId, roleARN)
	return cloudformation.Credentials{
		AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken, Expiration: *c.Expiration,
	}, nil
}

// remember keeps whose an access key is.
func (a *Account) remember(accessKeyID, roleARN string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sessions[accessKeyID] = roleARN
}
