package revoke

import (
	"path"
	"strings"
	"time"
)

// Consumer is who reads the issuer, and what a withdrawn key still is to him. docs/operations.md has the same in prose, and docs/incident.md the
// sessions; a test holds them together.
type Consumer struct {
	Name     string   `json:"name"`
	Keeps    string   `json:"keepsKey"`
	Forget   string   `json:"howItForgets,omitempty"`
	Commands []string `json:"toForget,omitempty"`
	Sessions string   `json:"sessions"` // those that were opened with a token of the key
	End      []string `json:"toEndSessions,omitempty"`
}

// Placeholders that docs and commands have in common.
const (
	issuerInDocs  = "https://oidc.example.com/prod-eu1"
	clusterInDocs = "prod-eu1"
	timeInDocs    = "2026-11-21T03:30:00Z"
)

// denyOlder is the policy that ends sessions of AWS: all that were opened before.
const denyOlder = `{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*",
  "Condition": {"DateLessThan": {"aws:TokenIssueTime": "2026-11-21T03:30:00Z"}}}]}`

var consumers = []Consumer{
	{
		Name: "AWS", Keeps: "not documented; and it takes a token until 5 minutes after its end",
		Forget:   "there is no button; to be sure, take the provider out of the roles' trust policies",
		Sessions: "go on until they end, 15 minutes to 12 hours. Deny what was opened before, for every role that trusts the issuer; with a later time if AWS went on taking the key. revoke.json is:\n" + denyOlder,
		End:      []string{"aws iam put-role-policy --role-name ROLE --policy-name AWSRevokeOlderSessions --policy-document file://revoke.json"},
	},
	{
		Name: "Google Cloud, by the issuer's URL", Keeps: "not documented", Forget: "disable the provider until it has forgotten",
		Commands: []string{"gcloud iam workload-identity-pools providers update-oidc PROVIDER --workload-identity-pool POOL --location global --disabled"},
		Sessions: "can't be ended: an hour as a rule, up to 12. Take the grants away for that time; and a service account that workloads impersonate:",
		End:      []string{"gcloud iam service-accounts disable NAME@PROJECT.iam.gserviceaccount.com"},
	},
	{
		Name: "Google Cloud, keys in the provider", Keeps: "no: the publisher succeeds only when the provider has lost the key, too", Sessions: "as by the URL",
	},
	{
		Name: "Entra", Keeps: "not documented", Forget: "delete the federated credential until it has forgotten",
		Commands: []string{"az identity federated-credential delete --name NAME --identity-name IDENTITY --resource-group GROUP"},
		Sessions: "can't be ended: 60 to 90 minutes as a rule, up to 24 hours for managed identities. Take the role assignments away for that time:",
		End:      []string{"az role assignment delete --assignee PRINCIPAL-ID --scope SCOPE"},
	},
	{
		Name: "Vault, OpenBao", Keeps: "FOR EVER, until a token with an unknown key comes", Forget: "flush it",
		Commands: []string{"kube-iam-assume setup vault --issuer https://oidc.example.com/prod-eu1 --flush --yes"},
		Sessions: "go on until their TTL; batch tokens can't be revoked. All others, with their leases:",
		End:      []string{"vault token revoke -mode=path auth/kubernetes-prod-eu1/login"},
	},
	{
		Name: "another cluster's API server", Keeps: "as Vault", Forget: "change its AuthenticationConfiguration, which it reads again, or restart it",
		Sessions: "none: every request has its token",
	},
	{Name: "Istio", Keeps: "20 minutes", Forget: "restart istiod", Sessions: "none"},
	{Name: "anything with uploaded keys", Keeps: "until the next upload", Forget: "upload the keys that are left", Sessions: "look there"},
}

// consumersOf puts this revocation into what the docs say.
func consumersOf(issuer, cluster string, before time.Time) []Consumer {
	named := issuer
	if path.Base(issuer) != cluster { // of which commands make the cluster's ID, unless they are told
		named = cluster + "=" + issuer
	}
	here := strings.NewReplacer(issuerInDocs, named, "auth/kubernetes-"+clusterInDocs+"/", "auth/kubernetes-"+cluster+"/", timeInDocs, before.UTC().Format(time.RFC3339))
	all := make([]Consumer, len(consumers))
	for i, c := range consumers {
		c.Commands, c.End, c.Sessions = replaceAll(here, c.Commands), replaceAll(here, c.End), here.Replace(c.Sessions)
		all[i] = c
	}
	return all
}

func replaceAll(here *strings.Replacer, texts []string) []string {
	var all []string
	for _, text := range texts {
		all = append(all, here.Replace(text))
	}
	return all
}
