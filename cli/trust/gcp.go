package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
)

const (
	maxSubject    = 127  // bytes of google.subject
	maxExpression = 2048 // characters of one of the mapping's expressions
	maxCondition  = 4096 // characters of a provider's condition

	kubernetesClaim = "assertion['kubernetes.io']"
)

// GCP is a Workload Identity pool.
type GCP struct {
	Pool         string // projects/NUMBER/locations/global/workloadIdentityPools/ID
	AdmitUnbound bool   // take tokens that are not bound to a pod, as `kubectl create token` makes them
}

// GCPReport is a provider for each cluster, and who each workload is to IAM.
type GCPReport struct {
	Providers  []GCPProvider  `json:"providers"`
	Principals []GCPPrincipal `json:"principals"`
	Notes      []string       `json:"notes,omitempty"`
}

// GCPProvider is a provider of the pool.
type GCPProvider struct {
	Cluster   string            `json:"cluster"`
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Issuer    string            `json:"issuerUri"`
	Audience  string            `json:"audience"` // of tokens
	Mapping   map[string]string `json:"attributeMapping"`
	Condition string            `json:"attributeCondition"`
}

// GCPPrincipal is who a service account, or a namespace, of one cluster is in a grant.
type GCPPrincipal struct {
	Cluster   string          `json:"cluster"`
	Account   *ServiceAccount `json:"serviceAccount,omitempty"`
	Namespace string          `json:"namespace,omitempty"`
	Principal string          `json:"principal"`
}

var poolPattern = regexp.MustCompile(`^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9][-a-z0-9]{2,30}[a-z0-9]$`)

// Report writes the providers and the principals. The errors are ErrInput and ErrTooLong.
func (g GCP) Report(s Selection) (GCPReport, error) {
	if !poolPattern.MatchString(g.Pool) {
		return GCPReport{}, fmt.Errorf("%w pool %q: want projects/NUMBER/locations/global/workloadIdentityPools/ID, with the project's number", ErrInput, g.Pool)
	}
	if err := s.Check(); err != nil {
		return GCPReport{}, err
	}
	r := GCPReport{Notes: s.Warnings()}
	for _, c := range s.Clusters {
		provider, err := g.provider(c, s)
		if err != nil {
			return GCPReport{}, err
		}
		if strings.Contains(provider.Mapping["google.subject"], "['serviceaccount']['uid']") {
			r.Notes = append(r.Notes, fmt.Sprintf("note: Google takes %d bytes of google.subject, and some subjects of cluster %s are longer: those accounts are told by their UID. "+
				"Grants name attribute.workload, which has no such limit.", maxSubject, c.ID))
		}
		r.Providers = append(r.Providers, provider)
		for _, account := range s.Accounts {
			r.Principals = append(r.Principals, GCPPrincipal{Cluster: c.ID, Account: &account, Principal: g.principal("workload", c.ID+"/"+account.String())})
		}
		for _, namespace := range s.Namespaces {
			r.Principals = append(r.Principals, GCPPrincipal{Cluster: c.ID, Namespace: namespace, Principal: g.principal("cluster_namespace", c.ID+"/"+namespace)})
		}
	}
	if g.AdmitUnbound {
		r.Notes = append(r.Notes, "warning: tokens that are not bound to a pod are taken, too: whoever may create tokens of these accounts needs no pod, and such a token outlives every one.")
	}
	return r, nil
}

// principal is everybody with a value of an attribute. The values begin with the cluster: one pool holds many, and each can have the same names.
func (g GCP) principal(attribute, value string) string {
	return "principalSet://iam.googleapis.com/" + g.Pool + "/attribute." + attribute + "/" + value
}

func (g GCP) provider(c Cluster, s Selection) (GCPProvider, error) {
	id := ProviderID(c.ID)
	p := GCPProvider{
		Cluster: c.ID, ID: id, Name: g.Pool + "/providers/" + id, Issuer: c.Issuer,
		Mapping: g.mapping(c, s), Condition: g.condition(s),
	}
	p.Audience = "https://iam.googleapis.com/" + p.Name
	if len(p.Condition) > maxCondition {
		return p, fmt.Errorf("%w: the condition of cluster %s has %d characters, Google takes %d: let in fewer service accounts, or their namespaces with --allow-namespace and grants "+
			"to attribute.workload", ErrTooLong, c.ID, len(p.Condition), maxCondition)
	}
	return p, nil
}

// ProviderID is the ID of a cluster's provider: the cluster's, or where Google does not take that (4 to 32 characters, not beginning with gcp-), one
// made of its digest.
func ProviderID(cluster string) string {
	if len(cluster) >= 4 && len(cluster) <= 32 && !strings.HasPrefix(cluster, "gcp-") {
		return cluster
	}
	sum := sha256.Sum256([]byte(cluster))
	return "id-" + hex.EncodeToString(sum[:12])
}

func (g GCP) mapping(c Cluster, s Selection) map[string]string {
	namespace, account := kubernetesClaim+"['namespace']", kubernetesClaim+"['serviceaccount']['name']"
	m := map[string]string{
		"google.subject":                 subjectExpression(c, s),
		"attribute.cluster":              "'" + c.ID + "'",
		"attribute.namespace":            namespace,
		"attribute.service_account_name": account,
		"attribute.service_account_uid":  kubernetesClaim + "['serviceaccount']['uid']",
		"attribute.workload":             "'" + c.ID + "/' + " + namespace + " + '/' + " + account,
	}
	if len(s.Namespaces) > 0 {
		m["attribute.cluster_namespace"] = "'" + c.ID + "/' + " + namespace
	}
	if !g.AdmitUnbound {
		m["attribute.pod"] = kubernetesClaim + "['pod']['name']"
		m["attribute.pod_uid"] = kubernetesClaim + "['pod']['uid']"
	}
	return m
}

// subjectExpression tells accounts by name, and those by UID whose names are too long for Google. Which they are is known here, unless a whole namespace is
// let in; then all are told by UID, which always fits.
func subjectExpression(c Cluster, s Selection) string {
	byName := "'" + c.ID + ":' + assertion.sub"
	byUID := "'" + c.ID + ":uid:' + " + kubernetesClaim + "['serviceaccount']['uid']"
	var long []string
	for _, account := range s.Accounts {
		if len(c.ID+":"+account.Subject()) > maxSubject {
			long = append(long, account.Subject())
		}
	}
	choice := "assertion.sub in ['" + strings.Join(long, "', '") + "'] ? " + byUID + " : " + byName
	switch {
	case len(s.Namespaces) > 0 || len(choice) > maxExpression:
		return byUID
	case len(long) > 0:
		return choice
	}
	return byName
}

// condition lets nobody else get a token of Google's at all, whatever is granted to whom later.
func (g GCP) condition(s Selection) string {
	var who []string
	if len(s.Accounts) > 0 {
		var subjects []string
		for _, account := range s.Accounts {
			subjects = append(subjects, account.Subject())
		}
		slices.Sort(subjects)
		who = append(who, "assertion.sub in ['"+strings.Join(subjects, "', '")+"']")
	}
	if len(s.Namespaces) > 0 {
		who = append(who, kubernetesClaim+"['namespace'] in ['"+strings.Join(s.Namespaces, "', '")+"']")
	}
	admitted := strings.Join(who, " || ")
	if g.AdmitUnbound {
		return admitted
	}
	if len(who) > 1 {
		admitted = "(" + admitted + ")"
	}
	return "'pod' in " + kubernetesClaim + " && " + admitted
}

// Text lists providers and principals.
func (r GCPReport) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range r.Providers {
		fmt.Fprintf(w, "PROVIDER %s\n  issuer\t%s\n  audience\t%s\n  condition\t%s\n", p.Name, p.Issuer, p.Audience, p.Condition)
		for _, attribute := range slices.Sorted(maps.Keys(p.Mapping)) {
			fmt.Fprintf(w, "  %s\t%s\n", attribute, p.Mapping[attribute])
		}
	}
	fmt.Fprintln(w, "PRINCIPALS")
	for _, p := range r.Principals {
		who := p.Namespace + "/*"
		if p.Account != nil {
			who = p.Account.String()
		}
		fmt.Fprintf(w, "  %s@%s\t%s\n", who, p.Cluster, p.Principal)
	}
	return w.Flush()
}
