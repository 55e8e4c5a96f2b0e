package exporter

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"

	"github.com/kube-iam-assume/kube-iam-assume/shared/settings"
)

// DefaultPubSubTokenFile is where the chart mounts the token for Google: the exporter's own, projected with the provider's audience,
// https://iam.googleapis.com/ and the provider.
const DefaultPubSubTokenFile = "/var/run/secrets/kube-iam-assume/pubsub/token"

const (
	pubsubScope = "https://www.googleapis.com/auth/pubsub"

	// pubsubPause is between the two attempts that each snapshot has; the webhook waits, and the worker tries again.
	pubsubPause = time.Second
)

// PubSub is a publisher's topic. The exporter logs in by Workload Identity Federation. A topic says nothing of what comes of a snapshot: that
// is in the publisher's log alone.
type PubSub struct {
	Topic          string `json:"topic"                    yaml:"topic"`          // projects/PROJECT/topics/TOPIC
	Provider       string `json:"provider"                 yaml:"provider"`       // that knows the cluster: projects/NUMBER/locations/…
	ServiceAccount string `json:"serviceAccount,omitempty" yaml:"serviceAccount"` // to act as, if the topic's role is not the exporter's own
	TokenFile      string `json:"tokenFile,omitempty"      yaml:"tokenFile"`      // read for every login: the kubelet renews it
}

var (
	pubsubTopic    = regexp.MustCompile(`^projects/(?:[-.a-z0-9]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]/topics/[a-zA-Z][-._~+a-zA-Z0-9]{2,254}$`)
	googleProvider = regexp.MustCompile(`^projects/[0-9]+/locations/global/workloadIdentityPools/[-a-z0-9]{4,32}/providers/[-a-z0-9]{4,32}$`)
	googleAccount  = regexp.MustCompile(`^[-a-z0-9]+@[-.a-z0-9]+\.gserviceaccount\.com$`)
)

func (q PubSub) check(d *settings.Document, at []any, publisher string) error {
	switch {
	case !pubsubTopic.MatchString(q.Topic):
		return d.Errorf(append(at, "topic"), "topic of %q: %q: want projects/PROJECT/topics/TOPIC; the stack's output has it", publisher, q.Topic)
	case !googleProvider.MatchString(q.Provider):
		return d.Errorf(append(at, "provider"), "provider %q: want projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER, "+
			"with the project's number and nothing before it; the stack's output has it", q.Provider)
	case q.ServiceAccount != "" && !googleAccount.MatchString(q.ServiceAccount):
		return d.Errorf(append(at, "serviceAccount"), "serviceAccount %q: want the e-mail address of a Google service account, NAME@PROJECT.iam.gserviceaccount.com, or nothing", q.ServiceAccount)
	}
	return nil
}

// pubsubQueue is a topic of Google's Pub/Sub, by REST: Google's own client would bring gRPC.
type pubsubQueue struct {
	publish  string // URL
	audience string // of the exporter's token
	client   *http.Client
	login    externalaccount.Config
	file     tokenFile
	token    *oauth2.Token // of the last login; only the destination's worker uses it
}

func (q PubSub) open(settings Settings) (queue, error) {
	client, err := newClient(settings, settings.CABundle)
	login := externalaccount.Config{
		Audience: "//iam.googleapis.com/" + q.Provider, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		UniverseDomain: "googleapis.com", Scopes: []string{pubsubScope},
	}
	if q.ServiceAccount != "" {
		login.ServiceAccountImpersonationURL = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + q.ServiceAccount + ":generateAccessToken"
	}
	return &pubsubQueue{
		publish: "https://pubsub.googleapis.com/v1/" + q.Topic + ":publish", audience: "https:" + login.Audience, client: client, login: login,
		file: tokenFile(cmp.Or(q.TokenFile, DefaultPubSubTokenFile)),
	}, err
}

func (q *pubsubQueue) close() { q.client.CloseIdleConnections() }

func (q *pubsubQueue) put(ctx context.Context, envelope []byte) error {
	err := q.try(ctx, envelope)
	if err != nil && worthAnother(err) {
		select {
		case <-ctx.Done():
		case <-time.After(pubsubPause):
			err = q.try(ctx, envelope)
		}
	}
	var missing tokenError
	var answered googleError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		return noToken("Google", q.audience, missing.error)
	case errors.As(err, &answered):
		return answered.with(cmp.Or(googleRemedies[answered.service][answered.code], "see the provider and the topic"))
	}
	return err
}

// worthAnother reports whether a second attempt may end otherwise: Google was busy, or did not take the login of before.
func worthAnother(err error) bool {
	var missing tokenError
	var answered googleError
	if errors.As(err, &answered) {
		return answered.status >= 500 || answered.status == http.StatusTooManyRequests || answered.status == http.StatusUnauthorized && answered.service == pubsubService
	}
	return !errors.As(err, &missing)
}

// try logs in, if the last login is over, and publishes.
func (q *pubsubQueue) try(ctx context.Context, envelope []byte) error {
	if !q.token.Valid() {
		var err error
		if q.token, err = q.logIn(ctx); err != nil {
			return err
		}
	}
	type message struct {
		Data []byte `json:"data"` // base64
	}
	body, err := json.Marshal(map[string][]message{"messages": {{envelope}}})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, q.publish, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	q.token.SetAuthHeader(request)
	witness := &googleWitness{next: q.client.Transport}
	response, err := q.as(witness).Do(request)
	if err != nil {
		return cmp.Or(witness.saw, unanswered(pubsubService, err))
	}
	defer response.Body.Close()
	var published struct {
		MessageIDs []string `json:"messageIds"`
	}
	if witness.saw == nil && (json.NewDecoder(response.Body).Decode(&published) != nil || len(published.MessageIDs) != 1) {
		return unanswered(pubsubService, errors.New("what answers is something else")) // a captive portal
	}
	if response.StatusCode == http.StatusUnauthorized {
		q.token = nil
	}
	return witness.saw
}

// logIn exchanges the exporter's token for Google's, and that for the service account's if there is one.
func (q *pubsubQueue) logIn(ctx context.Context) (*oauth2.Token, error) {
	subject, err := q.file.read()
	if err != nil {
		return nil, err
	}
	witness := &googleWitness{next: q.client.Transport}
	login := q.login
	login.SubjectTokenSupplier = subjectToken(subject)
	source, err := externalaccount.NewTokenSource(context.WithValue(ctx, oauth2.HTTPClient, q.as(witness)), login)
	if err != nil {
		return nil, err
	}
	token, err := source.Token()
	if err != nil {
		return nil, cmp.Or(witness.saw, unanswered(cmp.Or(witness.service, stsService), errors.New("what answers is something else")))
	}
	return token, nil
}

// as is the client, watched.
func (q *pubsubQueue) as(witness *googleWitness) *http.Client {
	client := *q.client
	client.Transport = witness
	return &client
}

type subjectToken string

// SubjectToken implements externalaccount.SubjectTokenSupplier.
func (t subjectToken) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return string(t), nil
}

// googleWitness sees why a service did not do what it was asked: in the library's errors that is text only.
type googleWitness struct {
	next    http.RoundTripper
	service string // the last that was asked
	saw     error
}

// RoundTrip implements http.RoundTripper.
func (w *googleWitness) RoundTrip(r *http.Request) (*http.Response, error) {
	w.service = googleServices[r.URL.Host]
	response, err := w.next.RoundTrip(r)
	if err != nil {
		w.saw = unanswered(w.service, err)
		return nil, err
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close() // it was only read
	if err != nil {
		w.saw = unanswered(w.service, err)
		return nil, err
	}
	w.saw = readGoogleError(w.service, response, body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// googleError is an answer of one of Google's services.
type googleError struct {
	refusal

	status int // HTTP
}

func (e googleError) Error() string { return e.service + " refused: " + e.code }

// readGoogleError understands both forms that there are: OAuth's (RFC 6749 section 5.2), and that of all other APIs.
func readGoogleError(service string, response *http.Response, body []byte) googleError {
	e := googleError{refusal{service, response.Status, string(body)}.oauth(body), response.StatusCode}
	var api struct {
		Error struct {
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &api) == nil && api.Error.Status != "" {
		e.code, e.message = api.Error.Status, api.Error.Message
	}
	return e
}
