// Package lambdaapi is a stand-in for the part of Lambda's API by which people invoke functions: signatures (version 4) are verified by signing again,
// the right to invoke is checked, and the event goes to a real process of the function, in lambdahost. Errors have Lambda's documented forms.
//
// It shares no code with what it tests, and has the service's own name: it is reached through test/internet.
package lambdaapi

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/kube-iam-assume/kube-iam-assume/test/aws/lambdahost"
)

const (
	maxPayload = 6 << 20
	maxSkew    = 5 * time.Minute
)

// API is Lambda in one region. It implements http.Handler.
type API struct {
	region string

	mu        sync.Mutex
	functions map[string]*lambdahost.Host // by ARN
	people    map[string]person           // by access key ID
}

type person struct {
	credentials aws.Credentials
	may         []string // ARNs that he may invoke
}

// New is a region with nothing in it.
func New(region string) *API {
	return &API{region: region, functions: map[string]*lambdahost.Host{}, people: map[string]person{}}
}

// Name is that of its endpoint.
func (a *API) Name() string { return "lambda." + a.region + ".amazonaws.com" }

// Provide makes a function.
func (a *API) Provide(arn string, host *lambdahost.Host) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.functions[arn] = host
}

// Allow makes these the functions that somebody may invoke.
func (a *API) Allow(credentials aws.Credentials, arns ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.people[credentials.AccessKeyID] = person{credentials, arns}
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	escaped, found := strings.CutPrefix(r.URL.EscapedPath(), "/2015-03-31/functions/")
	escaped, invokes := strings.CutSuffix(escaped, "/invocations")
	arn, err := url.PathUnescape(escaped)
	if err != nil || !found || !invokes || r.Method != http.MethodPost {
		fail(w, http.StatusNotFound, "UnknownOperationException", "there is no such operation")
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPayload))
	if err != nil {
		fail(w, http.StatusRequestEntityTooLarge, "RequestTooLargeException", "the request is too large")
		return
	}
	who, code := a.authenticate(r, payload)
	a.mu.Lock()
	host := a.functions[arn]
	a.mu.Unlock()
	switch {
	case code != "":
		fail(w, http.StatusForbidden, code, "The security token included in the request is invalid.")
	case !slices.Contains(who.may, arn):
		fail(w, http.StatusForbidden, "AccessDeniedException", fmt.Sprintf("User: arn:aws:iam::111122223333:user/%s is not authorized to perform: lambda:InvokeFunction on resource: %s because no identity-based policy allows the lambda:InvokeFunction action", who.credentials.AccessKeyID, arn))
	case host == nil:
		fail(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+arn)
	default:
		invoke(w, r, host, payload)
	}
}

func invoke(w http.ResponseWriter, r *http.Request, host *lambdahost.Host, payload []byte) {
	answer, err := host.Invoke(r.Context(), payload)
	var failed *lambdahost.FunctionError
	switch {
	case errors.As(err, &failed):
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		answer, _ = json.Marshal(failed) // two texts
	case err != nil:
		fail(w, http.StatusInternalServerError, "ServiceException", err.Error())
		return
	}
	if r.Header.Get("X-Amz-Log-Type") == "Tail" {
		w.Header().Set("X-Amz-Log-Result", "a log that nobody should ask for")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	_, _ = w.Write(answer) // whoever hangs up needs no answer
}

// authenticate signs the request again, as whoever it says it is from, and compares.
func (a *API) authenticate(r *http.Request, payload []byte) (who person, code string) {
	fields := map[string]string{}
	given := r.Header.Get("Authorization")
	for field := range strings.SplitSeq(strings.TrimPrefix(given, "AWS4-HMAC-SHA256 "), ", ") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	id, scope, _ := strings.Cut(fields["Credential"], "/")
	a.mu.Lock()
	who, known := a.people[id]
	a.mu.Unlock()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if !known || r.Header.Get("X-Amz-Security-Token") != who.credentials.SessionToken {
		return who, "UnrecognizedClientException"
	}
	if err != nil || time.Since(at).Abs() > maxSkew || scope != at.Format("20060102")+"/"+a.region+"/lambda/aws4_request" {
		return who, "InvalidSignatureException"
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "https://"+r.Host+r.URL.RequestURI(), bytes.NewReader(payload))
	if err != nil {
		return who, "InvalidSignatureException"
	}
	for name := range strings.SplitSeq(fields["SignedHeaders"], ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	sum := sha256.Sum256(payload)
	if err := v4.NewSigner().SignHTTP(r.Context(), who.credentials, again, hex.EncodeToString(sum[:]), "lambda", a.region, at); err != nil ||
		subtle.ConstantTimeCompare([]byte(again.Header.Get("Authorization")), []byte(given)) != 1 {
		return who, "InvalidSignatureException"
	}
	return who, ""
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message}) // as above
}
