package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const (
	// AzureAudience is that of tokens for Entra; sovereign clouds have it with a suffix.
	AzureAudience = "api://AzureADTokenExchange"
	// AzureCredentials is how many federated credentials an application or a user-assigned identity can have.
	AzureCredentials = 20

	maxEntra          = 600 // of issuer, subject and audience
	maxCredentialName = 120
)

// Azure is a tenant.
type Azure struct{ Audience string }

// AzureReport is one set of federated credentials for each identity that is needed.
type AzureReport struct {
	Identities []AzureIdentity `json:"identities"`
	Notes      []string        `json:"notes,omitempty"`
}

// AzureIdentity is what one application or user-assigned identity gets.
type AzureIdentity struct {
	Credentials []AzureCredential `json:"federatedCredentials"`
}

// AzureCredential is a federated identity credential, with the fields of Microsoft Graph and of ARM's properties.
type AzureCredential struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

// Report writes the credentials, at most 20 for each identity. The errors are ErrInput and ErrTooLong.
func (a Azure) Report(s Selection) (AzureReport, error) {
	if err := s.Check(); err != nil {
		return AzureReport{}, err
	}
	if !strings.HasPrefix(a.Audience, AzureAudience) {
		return AzureReport{}, fmt.Errorf("%w audience %q: Entra takes %s, with a suffix in sovereign clouds, and nothing else", ErrInput, a.Audience, AzureAudience)
	}
	if len(s.Namespaces) > 0 {
		return AzureReport{}, fmt.Errorf("%w call: --allow-namespace: Entra compares the subject byte for byte and has no wildcards for an issuer of your own: name the service accounts", ErrInput)
	}
	var all []AzureCredential
	for _, account := range s.Accounts { // so that one account's credentials stay together as long as they can
		for _, c := range s.Clusters {
			credential := a.credential(c, account)
			if len(c.Issuer) > maxEntra || len(credential.Subject) > maxEntra {
				return AzureReport{}, fmt.Errorf("%w: issuer %s or subject %s: Entra takes %d characters", ErrTooLong, c.Issuer, credential.Subject, maxEntra)
			}
			all = append(all, credential)
		}
	}
	r := AzureReport{Notes: s.Warnings()}
	for start := 0; start < len(all); start += AzureCredentials {
		r.Identities = append(r.Identities, AzureIdentity{all[start:min(start+AzureCredentials, len(all))]})
	}
	if len(r.Identities) > 1 {
		r.Notes = append(r.Notes, fmt.Sprintf("warning: these are %d federated credentials, and an identity has at most %d: they need %d identities with the same rights.",
			len(all), AzureCredentials, len(r.Identities)))
	}
	return r, nil
}

func (a Azure) credential(c Cluster, account ServiceAccount) AzureCredential {
	return AzureCredential{credentialName(c, account), c.Issuer, account.Subject(), []string{a.Audience}}
}

// credentialName is unique for the cluster and the account, and one that Entra takes: letters, digits, - and _, at most 120.
func credentialName(c Cluster, account ServiceAccount) string {
	sum := sha256.Sum256([]byte(c.Issuer + " " + account.String()))
	tail := "-" + hex.EncodeToString(sum[:4])
	name := "kube-" + c.ID + "-" + account.Namespace + "-" + strings.ReplaceAll(account.Name, ".", "-")
	return name[:min(len(name), maxCredentialName-len(tail))] + tail
}

// Text lists the credentials.
func (r AzureReport) Text(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, identity := range r.Identities {
		if len(r.Identities) > 1 {
			fmt.Fprintf(w, "IDENTITY %d of %d\n", i+1, len(r.Identities))
		}
		for _, c := range identity.Credentials {
			fmt.Fprintf(w, "%s\n  issuer\t%s\n  subject\t%s\n  audience\t%s\n", c.Name, c.Issuer, c.Subject, strings.Join(c.Audiences, ", "))
		}
	}
	return w.Flush()
}
