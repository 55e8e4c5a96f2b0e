package gcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// The checks of doctor's that Google answers.
const (
	checkPool      = "gcp.pool"
	checkProvider  = "gcp.provider"
	checkAudience  = "gcp.audience"
	checkKeys      = "gcp.keys"
	checkMapping   = "gcp.mapping"
	checkCondition = "gcp.condition"
	checkGrant     = "gcp.grant"
)

// Checks are the IDs of what Examine finds.
func Checks() []string {
	return []string{checkPool, checkProvider, checkAudience, checkKeys, checkMapping, checkCondition, checkGrant}
}

// A Registration is what a Workload Identity pool knows of an issuer.
type Registration struct {
	Pool         string // full name
	Provider     string // full name; "" for the pool's provider of the issuer
	Audience     string // of the tokens; "" for the provider's own name
	Impersonate  string // Google's service account that the workload acts as; "" for none
	AdmitUnbound bool   // as in setup
	Client       []option.ClientOption
}

// examiner reads for one issuer.
type examiner struct {
	Registration
	registration.Wanted
	service *iam.Service
}

// Examine reads pool, provider and the service account's policy.
func (r Registration) Examine(ctx context.Context, w registration.Wanted) []registration.Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if r.Pool == "" {
		r.Pool, _, _ = strings.Cut(r.Provider, "/providers/")
	}
	client := r.Client
	if len(client) == 0 {
		client = []option.ClientOption{option.WithScopes(iam.CloudPlatformScope)}
	}
	service, err := iam.NewService(ctx, client...)
	if err != nil {
		return []registration.Finding{registration.Unseen(checkPool, "Log in: gcloud auth application-default login.", "no login for Google: %v", err)}
	}
	x := &examiner{r, w, service}
	findings := []registration.Finding{x.pool(ctx)}
	if findings[0].Status == registration.Broken {
		return findings
	}
	found, finding := x.provider(ctx)
	findings = append(findings, finding)
	if found == nil {
		return findings
	}
	findings = append(findings, x.audience(found), x.keys(found), x.mapping(found))
	if w.Subject == "" {
		return findings
	}
	findings = append(findings, x.condition(found))
	if r.Impersonate != "" {
		findings = append(findings, x.grant(ctx, found))
	}
	return findings
}

// repair is the command that makes it so.
func (x *examiner) repair(does string) string {
	command := "`kube-iam-assume setup gcp --pool " + x.Pool + x.From() + x.Wanted.Account()
	if x.Impersonate != "" {
		command += " --impersonate " + x.Impersonate
	}
	return command + "` " + does + "."
}

// unseen is for an answer that was none. Only what Google denied is a right that is missing.
func unseen(check, right string, err error) registration.Finding {
	var answer *googleapi.Error
	if errors.As(err, &answer) && answer.Code == http.StatusForbidden {
		return registration.Unseen(check, "Give doctor's login "+right+", as roles/iam.workloadIdentityPoolViewer and roles/iam.serviceAccountViewer have.", "this login lacks the permission %s", right)
	}
	return registration.Unseen(check, "Log in (gcloud auth application-default login), and try again when Google answers.", "%s: %v", right, err)
}

func (x *examiner) pool(ctx context.Context) registration.Finding {
	found, err := x.service.Projects.Locations.WorkloadIdentityPools.Get(x.Pool).Context(ctx).Do()
	switch {
	case absent(err):
		return registration.Break(checkPool, x.repair("makes it"), "there is no pool %s", x.Pool)
	case err != nil:
		return unseen(checkPool, "iam.workloadIdentityPools.get", err)
	case found.State == deleted:
		return registration.Break(checkPool, "gcloud iam workload-identity-pools undelete brings it back within 30 days.", "the pool %s was deleted", x.Pool)
	case found.Disabled:
		return registration.Break(checkPool, "gcloud iam workload-identity-pools update --no-disabled lets workloads in again.", "the pool %s is disabled: nobody gets in", x.Pool)
	}
	return registration.Ok(checkPool, "%s", x.Pool)
}

// provider is the one that was named, or that setup would have made, or else the pool's one of the issuer. It is nil if there is nothing to look at.
func (x *examiner) provider(ctx context.Context) (*iam.WorkloadIdentityPoolProvider, registration.Finding) {
	name := cmp.Or(x.Provider, x.Pool+"/providers/"+trust.ProviderID(x.Cluster))
	found, err := x.service.Projects.Locations.WorkloadIdentityPools.Providers.Get(name).Context(ctx).Do()
	if x.Provider == "" && (absent(err) || err == nil && !x.ours(found)) {
		other, searchErr := x.search(ctx)
		if searchErr != nil { // under another name it may well be there
			return nil, unseen(checkProvider, "iam.workloadIdentityPoolProviders.list", searchErr)
		}
		if other != nil {
			found, err = other, nil
		}
	}
	switch {
	case absent(err):
		return nil, registration.Break(checkProvider, x.repair("makes it"), "the pool has no provider of %s: tokens are refused with invalid_target", x.Issuer)
	case err != nil:
		return nil, unseen(checkProvider, "iam.workloadIdentityPoolProviders.get", err)
	case found.State == deleted:
		return nil, registration.Break(checkProvider, "gcloud iam workload-identity-pools providers undelete brings it back within 30 days.", "the provider %s was deleted", found.Name)
	case !x.ours(found):
		return nil, registration.Break(checkProvider, x.repair("with --issuer ID=URL and another ID makes one")+" Only a new provider changes the issuer of tokens that are taken.",
			"the provider %s has the issuer %q, not %s", found.Name, issuerOf(found), x.Issuer)
	case found.Disabled:
		return found, registration.Break(checkProvider, "gcloud iam workload-identity-pools providers update-oidc --no-disabled lets workloads in again.", "the provider %s is disabled: nobody gets in", found.Name)
	}
	return found, registration.Ok(checkProvider, "%s", found.Name)
}

func issuerOf(p *iam.WorkloadIdentityPoolProvider) string {
	if p.Oidc == nil {
		return ""
	}
	return p.Oidc.IssuerUri
}

func (x *examiner) ours(p *iam.WorkloadIdentityPoolProvider) bool { return issuerOf(p) == x.Issuer }

// search goes through the pool's providers for one of the issuer. It is nil if there is none.
func (x *examiner) search(ctx context.Context) (one *iam.WorkloadIdentityPoolProvider, err error) {
	err = x.service.Projects.Locations.WorkloadIdentityPools.Providers.List(x.Pool).Pages(ctx, func(page *iam.ListWorkloadIdentityPoolProvidersResponse) error {
		for _, p := range page.WorkloadIdentityPoolProviders {
			if x.ours(p) && one == nil {
				one = p
			}
		}
		return nil
	})
	return one, err
}

func (x *examiner) audience(p *iam.WorkloadIdentityPoolProvider) registration.Finding {
	own := "https://iam.googleapis.com/" + p.Name
	allowed := p.Oidc.AllowedAudiences
	if len(allowed) == 0 {
		allowed = []string{own, "//iam.googleapis.com/" + p.Name}
	}
	want := cmp.Or(x.Audience, own)
	for _, a := range allowed {
		if a == x.Issuer || strings.HasPrefix(a, "https://kubernetes.default") {
			return registration.Warn(checkAudience, "Remove it: gcloud iam workload-identity-pools providers update-oidc --allowed-audiences.",
				"it takes the audience %s, which every pod's default token has unless --api-audiences says otherwise", a)
		}
	}
	if !slices.Contains(allowed, want) {
		return registration.Break(checkAudience, "Project the token with one of these audiences, or say it with --gcp-audience; or clear the provider's allowed audiences.",
			"the provider takes the audiences %s, and not %s", strings.Join(allowed, ", "), want)
	}
	return registration.Ok(checkAudience, "%s", want)
}

// keys compares what was uploaded with what is published. Uploaded keys are what Google uses; it then fetches none.
func (x *examiner) keys(p *iam.WorkloadIdentityPoolProvider) registration.Finding {
	if p.Oidc.JwksJson == "" {
		return registration.Ok(checkKeys, "Google fetches them from the issuer")
	}
	const again = "Let the publisher in Google Cloud keep them (workloadIdentityProvider of the issuer in its settings), or upload the published keys again: gcloud iam workload-identity-pools providers update-oidc --jwk-json-path."
	uploaded, err := jwks.Parse([]byte(p.Oidc.JwksJson))
	switch {
	case err != nil:
		return registration.Warn(checkKeys, again, "the uploaded keys are none that a publisher writes: %v", err)
	case len(x.Keys) == 0:
		return registration.Unseen(checkKeys, "Repair the published keys first (jwks.*), or give doctor a kubeconfig.", "keys are uploaded, and there are none to compare them with: neither published nor an API server's")
	}
	missing, stale := less(x.Keys, uploaded), less(uploaded, x.Keys)
	switch {
	case len(missing) > 0:
		return registration.Break(checkKeys, again, "the uploaded keys are stale: they lack %s, so tokens signed with it are refused", strings.Join(missing, ", "))
	case len(stale) > 0:
		return registration.Warn(checkKeys, again, "the uploaded keys are stale: %s is published no longer, and still taken here", strings.Join(stale, ", "))
	}
	return registration.Ok(checkKeys, "%d uploaded, the same as published", len(uploaded))
}

// less is what is in one set and not in the other.
func less(a, b jwks.Set) []string {
	var ids []string
	for _, key := range a {
		if !slices.ContainsFunc(b, key.Equal) {
			ids = append(ids, key.ID())
		}
	}
	return ids
}

// cluster is the ID that the provider's mapping writes, or the one that setup would choose.
func (x *examiner) cluster(p *iam.WorkloadIdentityPoolProvider) trust.Cluster {
	id := strings.Trim(p.AttributeMapping["attribute.cluster"], "'")
	return trust.Cluster{ID: cmp.Or(id, x.Cluster), Issuer: x.Issuer}
}

// workload is what setup would be asked for.
func (x *examiner) workload(p *iam.WorkloadIdentityPoolProvider) trust.Selection {
	s := trust.Selection{Clusters: []trust.Cluster{x.cluster(p)}}
	if namespace, name := x.Workload(); name != "" {
		s.Accounts = []trust.ServiceAccount{{Namespace: namespace, Name: name}}
	}
	return s
}

func (x *examiner) mapping(p *iam.WorkloadIdentityPoolProvider) registration.Finding {
	admitted, ours := parse(p.AttributeCondition, x.cluster(p))
	s := union(admitted, x.workload(p))
	if !ours {
		s = x.workload(p)
	}
	if s.Empty() {
		s.Accounts = []trust.ServiceAccount{{Namespace: "default", Name: "default"}}
	}
	settings := trust.GCP{Pool: x.Pool, AdmitUnbound: x.AdmitUnbound}
	report, err := settings.Report(s)
	if err != nil {
		return registration.Warn(checkMapping, "Let fewer service accounts in.", "%v", err)
	}
	var different []string
	want := report.Providers[0].Mapping
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if p.AttributeMapping[name] != want[name] {
			different = append(different, fmt.Sprintf("%s is %q", name, p.AttributeMapping[name]))
		}
	}
	if len(different) > 0 {
		return registration.Warn(checkMapping, x.repair("brings it up to date; see to the grants that name these attributes"),
			"the mapping is not the one that setup writes, so grants that it prints may name nobody: %s", strings.Join(different, ", "))
	}
	return registration.Ok(checkMapping, "as setup writes it")
}

func (x *examiner) condition(p *iam.WorkloadIdentityPoolProvider) registration.Finding {
	namespace, _ := x.Workload()
	if p.AttributeCondition == "" {
		return registration.Warn(checkCondition, x.repair("writes one"), "the provider has no condition: every service account of the cluster gets tokens of Google's, and whoever grants something to the whole pool lets all of them in")
	}
	admitted, ours := parse(p.AttributeCondition, x.cluster(p))
	switch {
	case !ours:
		return registration.Warn(checkCondition, "Read it, or write it as `kube-iam-assume trust gcp` prints it.", "setup did not write the condition, and doctor does not evaluate it: %s", p.AttributeCondition)
	case !slices.Contains(admitted.Accounts, x.workload(p).Accounts[0]) && !slices.Contains(admitted.Namespaces, namespace):
		return registration.Break(checkCondition, x.repair("lets it in"), "the provider's condition does not let %s in: tokens are refused with unauthorized_client", x.Subject)
	}
	return registration.Ok(checkCondition, "it lets %s in", x.Subject)
}

// grant looks for the workload in the service account's policy, under each of its names.
func (x *examiner) grant(ctx context.Context, p *iam.WorkloadIdentityPoolProvider) registration.Finding {
	policy, err := x.service.Projects.ServiceAccounts.GetIamPolicy("projects/-/serviceAccounts/" + x.Impersonate).OptionsRequestedPolicyVersion(policyVersion).Context(ctx).Do()
	if absent(err) {
		return registration.Break(checkGrant, "Make it (gcloud iam service-accounts create), or name another with --gcp-impersonate.", "there is no service account %s", x.Impersonate)
	}
	if err != nil {
		return unseen(checkGrant, "iam.serviceAccounts.getIamPolicy", err)
	}
	namespace, name := x.Workload()
	id := x.cluster(p).ID
	set, pool := "principalSet://iam.googleapis.com/"+x.Pool+"/", "*"
	names := []string{
		set + "attribute.workload/" + id + "/" + namespace + "/" + name, set + "attribute.cluster_namespace/" + id + "/" + namespace, set + "attribute.cluster/" + id,
		"principal://iam.googleapis.com/" + x.Pool + "/subject/" + id + ":" + x.Subject, set + pool,
	}
	for _, b := range policy.Bindings {
		i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(b.Members, name) })
		switch {
		case b.Role != workerRole || i < 0:
		case b.Condition != nil:
			return registration.Warn(checkGrant, "See that the condition holds where the workload runs.", "the grant has the condition %s", b.Condition.Expression)
		case names[i] == set+pool:
			return registration.Warn(checkGrant, x.repair("grants it to the workload; then take the pool's grant away"), "everybody in the pool may act as %s", x.Impersonate)
		default:
			return registration.Ok(checkGrant, "%s may act as %s", names[i], x.Impersonate)
		}
	}
	return registration.Break(checkGrant, x.repair("grants it"), "the policy of %s has no binding of %s for %s", x.Impersonate, workerRole, names[0])
}
