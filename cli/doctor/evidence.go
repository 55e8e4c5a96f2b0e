package doctor

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	authorization "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kube-iam-assume/kube-iam-assume/cli/apiserver"
	"github.com/kube-iam-assume/kube-iam-assume/cli/command"
	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/shared/enrollment"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
	"github.com/kube-iam-assume/kube-iam-assume/shared/rotation"
)

const (
	// probeAudience is an audience that nobody accepts.
	probeAudience = "kube-iam-assume:doctor-probe"

	probeSeconds = 600
	tenYears     = 10 * 365 * 24 * 3600
	rightsLimit  = 5 * time.Second
)

// evidence is all that was looked at, once, before any check. The checks judge it and reach nothing themselves.
type evidence struct {
	options Options

	issuer    string
	retention time.Duration

	cluster    *apiserver.Cluster
	clusterErr error
	readings   []apiserver.Reading
	direct     bool
	tokens     []apiserver.Token // with probeAudience, one of each reading
	plain      []apiserver.Token // without an audience
	long       []apiserver.Token // as long as can be had
	rights     map[string]right

	settings    *exporterFile
	settingsErr error // why the file that was given is no settings
	ready       view
	metrics     metrics

	publishers []*publisher

	addresses  []string
	resolveErr error
	discovery  view
	document   document
	jwks       view
	again      view // the JWKS a second time
	published  jwks.Set
	parseErr   error // why published is empty
	mirrors    []mirror
	exchange   []exchange

	clouds []registration.Finding
}

// right is whether an account may do something.
type right struct {
	what    string
	allowed bool
	err     error
}

// exchange is a token as a cloud sees it.
type exchange struct {
	address, audience string
	err               error // why there is no token
	report            *command.Report
}

func gather(ctx context.Context, o Options) *evidence {
	e := &evidence{options: o, retention: rotation.DefaultRetention}
	e.gatherSettings()
	e.gatherCluster(ctx)
	e.chooseIssuer()
	e.gatherTokens(ctx)
	e.gatherExporter(ctx)
	e.gatherPublishers(ctx)
	e.gatherWeb(ctx)
	e.gatherMirrors(ctx)
	e.gatherExchange(ctx)
	e.gatherClouds(ctx)
	return e
}

func (e *evidence) gatherSettings() {
	if e.options.ExporterSettings != nil {
		e.settings, e.settingsErr = parseExporter(*e.options.ExporterSettings)
	}
	if e.settings != nil && e.options.Account == "" {
		e.options.Account = e.settings.ServiceAccount
	}
	if e.options.Account == "" {
		e.options.Account = defaultAccount
	}
	for _, p := range e.options.Publishers {
		e.publishers = append(e.publishers, &publisher{Publisher: p})
	}
}

func (e *evidence) gatherCluster(ctx context.Context) {
	if e.options.ClusterErr != nil {
		e.clusterErr = e.options.ClusterErr
		return
	}
	if e.cluster, e.clusterErr = apiserver.Open(ctx, e.options.Config); e.clusterErr != nil || len(e.cluster.Listed) == 0 {
		return
	}
	e.readings, e.direct, e.clusterErr = e.cluster.Read(ctx)
}

func (e *evidence) chooseIssuer() {
	e.issuer = e.options.Issuer
	if e.issuer == "" && e.settings != nil {
		e.issuer = e.settings.Issuer
	}
	for _, p := range e.publishers {
		if e.issuer == "" && p.Settings != nil && len(p.Settings.Issuers) == 1 {
			e.issuer = p.Settings.Issuers[0].URL
		}
	}
	if all := e.issuers(); e.issuer == "" && len(all) > 0 {
		e.issuer = all[0]
	}
	for i, p := range e.publishers { // the shortest counts
		if issuer, found := e.issuerAt(p); found && (i == 0 || issuer.Retention < e.retention) {
			e.retention = issuer.Retention
		}
	}
	if e.options.Retention > 0 {
		e.retention = e.options.Retention
	}
}

func (e *evidence) gatherTokens(ctx context.Context) {
	if len(e.readings) == 0 {
		return
	}
	account := e.options.Account
	e.tokens = apiserver.Tokens(ctx, e.readings, account, []string{probeAudience}, probeSeconds)
	e.plain = apiserver.Tokens(ctx, e.readings[:1], account, nil, probeSeconds)
	e.long = apiserver.Tokens(ctx, e.readings, account, []string{probeAudience}, tenYears)
	namespace, name, _ := strings.Cut(account, "/")
	e.rights = map[string]right{
		"attest": e.ask(ctx, namespace, name, "create serviceaccounts/token of itself", authorization.SubjectAccessReviewSpec{
			ResourceAttributes: &authorization.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "serviceaccounts", Subresource: "token", Name: name},
		}),
		"list": e.ask(ctx, namespace, name, "list endpointslices in the namespace default", authorization.SubjectAccessReviewSpec{
			ResourceAttributes: &authorization.ResourceAttributes{Namespace: metav1.NamespaceDefault, Verb: "list", Group: "discovery.k8s.io", Resource: "endpointslices"},
		}),
		"read": e.ask(ctx, namespace, name, "get /openid/v1/jwks", authorization.SubjectAccessReviewSpec{
			NonResourceAttributes: &authorization.NonResourceAttributes{Path: "/openid/v1/jwks", Verb: "get"},
		}),
	}
}

func (e *evidence) ask(ctx context.Context, namespace, name, what string, spec authorization.SubjectAccessReviewSpec) right {
	ctx, cancel := context.WithTimeout(ctx, rightsLimit)
	defer cancel()
	spec.User = "system:serviceaccount:" + namespace + ":" + name
	spec.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}
	answer, err := e.cluster.Client.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorization.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return right{what: what, err: err}
	}
	return right{what: what, allowed: answer.Status.Allowed}
}

// perServer is what is said of API servers, once of each.
func (e *evidence) perServer(of func(apiserver.Reading) string) []string {
	var all []string
	for _, r := range e.readings {
		if said := of(r); said != "" {
			all = append(all, r.Address+": "+said)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (e *evidence) tokenComplaints(of func(apiserver.Reading, apiserver.Token) string) []string {
	var all []string
	for i, t := range e.tokens {
		if said := of(e.readings[i], t); said != "" {
			all = append(all, t.Address+": "+said)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// issuers are those of the API servers, sorted.
func (e *evidence) issuers() []string {
	var all []string
	for _, r := range e.readings {
		if r.Issuer != "" {
			all = append(all, r.Issuer)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// signers are the IDs of the keys that API servers sign with, sorted.
func (e *evidence) signers() []string {
	var all []string
	for _, t := range e.tokens {
		if t.Err == nil {
			all = append(all, t.KeyID)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// union is every key that an API server lists, sorted by ID.
func (e *evidence) union() jwks.Set {
	var union jwks.Set
	for _, r := range e.readings {
		for _, key := range r.Keys {
			if !slices.ContainsFunc(union, key.Equal) {
				union = append(union, key)
			}
		}
	}
	slices.SortFunc(union, func(a, b jwks.Key) int { return strings.Compare(a.ID(), b.ID()) })
	return union
}

func (e *evidence) consumers() []string {
	if len(e.options.For) > 0 {
		return e.options.For
	}
	return Consumers()
}

func (e *evidence) host() string {
	u, err := url.Parse(e.issuer)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// issuerAt is the issuer in a publisher's settings, if they are known.
func (e *evidence) issuerAt(p *publisher) (enrollment.Issuer, bool) {
	if p.Settings == nil {
		return enrollment.Issuer{}, false
	}
	i := slices.IndexFunc(p.Settings.Issuers, func(i enrollment.Issuer) bool { return i.URL == e.issuer })
	if i < 0 {
		return enrollment.Issuer{}, false
	}
	return p.Settings.Issuers[i], true
}

// enrolledAt is the cluster in a publisher's settings: the one that the exporter's settings name, or the issuer's only one.
func (e *evidence) enrolledAt(p *publisher) (enrollment.Cluster, bool) {
	issuer, found := e.issuerAt(p)
	if !found {
		return enrollment.Cluster{}, false
	}
	for _, c := range issuer.Clusters {
		if e.settings != nil && c.ID == e.settings.Cluster || e.options.ExporterSettings == nil && len(issuer.Clusters) == 1 {
			return c, true
		}
	}
	return enrollment.Cluster{}, false
}

// enrolled is the cluster in the first settings that have it.
func (e *evidence) enrolled() (enrollment.Cluster, bool) {
	for _, p := range e.publishers {
		if c, found := e.enrolledAt(p); found {
			return c, true
		}
	}
	return enrollment.Cluster{}, false
}

// withoutURL drops from an error the URL that everybody knows.
func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
