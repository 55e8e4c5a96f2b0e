package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-json-experiment/json"

	"github.com/kube-iam-assume/kube-iam-assume/shared/function"
	"github.com/kube-iam-assume/kube-iam-assume/shared/publish"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	maxOrder   = 256 << 10 // bytes: a statement with as many keys as an issuer may have
	maxKeys    = 1 << 20   // bytes of Entra's key set, which has some 20 KB
	keyTimeout = 10 * time.Second

	publicAuthority = "https://login.microsoftonline.com"
)

var (
	errToken       = errors.New("no valid access token")
	errNotOperator = errors.New("not an operator")
)

// operators are who may give orders: principals of one Entra tenant, by their object IDs, with an access token for our audience.
type operators struct {
	tenant   string
	issuers  []string // of tokens in Entra's formats 1 and 2; the application that is the audience decides which
	verifier *oidc.IDTokenVerifier
	objects  []string
}

var entraID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// openDoor reads who may give orders. Without any of the variables the door is shut, and the result nil. AZURE_AUTHORITY_HOST is the SDK's
// own variable, for national clouds.
func openDoor(getenv func(string) string) (*operators, error) {
	tenant, audience, objects := getenv("OPERATOR_TENANT_ID"), getenv("OPERATOR_AUDIENCE"), getenv("OPERATORS")
	if tenant == "" && audience == "" && objects == "" {
		return nil, nil
	}
	door := &operators{tenant: strings.ToLower(tenant)}
	if !entraID.MatchString(door.tenant) {
		return nil, fmt.Errorf("OPERATOR_TENANT_ID %q: want the tenant's ID, as az account show --query tenantId says it", tenant)
	}
	if audience == "" {
		return nil, errors.New("OPERATOR_AUDIENCE is not set: want the audience of the operators' access tokens, an application's ID or its URI")
	}
	for object := range strings.SplitSeq(objects, ",") {
		object = strings.ToLower(strings.TrimSpace(object))
		if !entraID.MatchString(object) {
			return nil, fmt.Errorf("OPERATORS %.80q: want the object IDs of users or service principals, separated by commas", objects)
		}
		door.objects = append(door.objects, object)
	}
	authority, err := authorityOf(getenv("AZURE_AUTHORITY_HOST"))
	if err != nil {
		return nil, err
	}
	base := authority + "/" + door.tenant
	door.issuers = []string{"https://sts.windows.net/" + door.tenant + "/", base + "/v2.0"}
	client := &http.Client{Timeout: keyTimeout, Transport: limited{http.DefaultTransport}}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), client), base+"/discovery/v2.0/keys")
	door.verifier = oidc.NewVerifier("", keys, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: []string{oidc.RS256}, SkipIssuerCheck: true, // admit checks it: there are two
	})
	return door, nil
}

func authorityOf(host string) (string, error) {
	if host == "" {
		return publicAuthority, nil
	}
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", fmt.Errorf("AZURE_AUTHORITY_HOST %.80q: want https://HOST", host)
	}
	return "https://" + u.Host, nil
}

// admit returns the object ID of the operator whose token it is. The error is errToken or errNotOperator.
func (o *operators) admit(ctx context.Context, authorization []string) (string, error) {
	if len(authorization) != 1 {
		return "", fmt.Errorf("%w: %d Authorization headers, want one", errToken, len(authorization))
	}
	scheme, raw, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%w: want Authorization: Bearer TOKEN", errToken)
	}
	token, err := o.verifier.Verify(ctx, strings.TrimSpace(raw))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errToken, err)
	}
	var claims struct {
		Tenant  string `json:"tid"`
		Object  string `json:"oid"`
		Client1 string `json:"appid"` // in format 1: the program that the token was given to
		Client2 string `json:"azp"`   // in format 2
	}
	if err := token.Claims(&claims); err != nil {
		return "", fmt.Errorf("%w: %w", errToken, err)
	}
	switch {
	case !slices.Contains(o.issuers, token.Issuer):
		return "", fmt.Errorf("%w: it is from %.200q, want one of %q", errToken, token.Issuer, o.issuers)
	case claims.Tenant != o.tenant:
		return "", fmt.Errorf("%w: its tenant is %.80q, want %s", errToken, claims.Tenant, o.tenant)
	case claims.Client1 == "" && claims.Client2 == "":
		return "", fmt.Errorf("%w: it has neither appid nor azp: an ID token says who somebody is, and permits nothing", errToken)
	case !slices.Contains(o.objects, claims.Object):
		return "", fmt.Errorf("%w: the object ID %.80q is not in OPERATORS", errNotOperator, claims.Object)
	}
	return claims.Object, nil
}

func (a *app) operate(ctx context.Context, received invocation) (outputs, error) {
	return serveWeb(ctx, received, "/v1/operate", http.HandlerFunc(a.order))
}

// order answers the operator's door.
func (a *app) order(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if a.operators == nil {
		a.refuse(ctx, w, http.StatusForbidden, "shut", errors.New("this door is shut: OPERATOR_TENANT_ID, OPERATOR_AUDIENCE and OPERATORS are not set"))
		return
	}
	operator, err := a.operators.admit(ctx, r.Header.Values("Authorization"))
	switch {
	case errors.Is(err, errNotOperator):
		a.logger.WarnContext(ctx, "an order was refused", "event", "statement.refused", "detail", err.Error())
		a.refuse(ctx, w, http.StatusForbidden, "not-operator", err)
		return
	case err != nil: // anybody can come so far: counted, not alarmed
		a.logger.InfoContext(ctx, "a request was rejected", "event", "request.rejected", "code", "token", "detail", err.Error())
		w.Header().Set("Www-Authenticate", "Bearer")
		a.refuse(ctx, w, http.StatusUnauthorized, "token", errToken)
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOrder+1))
	if err != nil || len(body) > maxOrder {
		a.refuse(ctx, w, http.StatusRequestEntityTooLarge, publish.CodeTooLarge, fmt.Errorf("an order has at most %d bytes", maxOrder))
		return
	}
	a.logger.InfoContext(ctx, "an operator was admitted", "event", "operator.admitted", "operator", operator)
	result, err := function.Operate(ctx, a.publisher, body)
	if err != nil {
		status, code := statusOf(err)
		a.refuse(ctx, w, status, code, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(result) // to memory
}

// statusOf is for an operator, who may know everything.
func statusOf(err error) (status int, code string) {
	if errors.Is(err, function.ErrOrder) || errors.Is(err, rotation.ErrStatement) || errors.Is(err, publish.ErrNotLost) {
		return http.StatusBadRequest, "statement"
	}
	problem := publish.NewProblem(err, "")
	return problem.Status, problem.Code
}

// refuse says what was wrong as a problem (RFC 9457).
func (a *app) refuse(ctx context.Context, w http.ResponseWriter, status int, code string, why error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.MarshalWrite(w, publish.Problem{ // to memory
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: why.Error(), Instance: invocationOf(ctx),
	})
}

// limited keeps every answer's body within maxKeys.
type limited struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxKeys)
	}
	return response, err
}
