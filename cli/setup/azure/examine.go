package azure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// The checks of doctor's that Entra answers.
const (
	checkIdentity   = "entra.identity"
	checkCredential = "entra.credential"
	checkAudience   = "entra.audience"
	checkRoom       = "entra.room"
)

// Checks are the IDs of what Examine finds.
func Checks() []string { return []string{checkIdentity, checkRoom, checkCredential, checkAudience} }

// A Registration is what an identity knows of an issuer: a user-assigned identity, or an application.
type Registration struct {
	Identity, Subscription, ResourceGroup string // as in setup
	Application                           string // client ID
	Cloud                                 string // public, government or china
	Audience                              string // "" for the cloud's
	Client                                *Client
}

// Normal is the registration with the identity's resource ID and the cloud's audience. The error is a wrong call.
func (r Registration) Normal() (Registration, error) {
	f := r.flags()
	if err := f.checkOwner(); err != nil {
		return r, err
	}
	r.Identity, r.Audience = f.identity, cmp.Or(r.Audience, audiences[r.Cloud])
	r.Subscription, r.ResourceGroup = "", "" // the resource ID has them
	return r, nil
}

func (r Registration) flags() *flags {
	return &flags{identity: r.Identity, subscription: r.Subscription, group: r.ResourceGroup, application: r.Application, cloud: r.Cloud}
}

// Examine reads the federated credentials.
func (r Registration) Examine(ctx context.Context, w registration.Wanted) []registration.Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	name, right := "identity "+r.Identity, "Microsoft.ManagedIdentity/userAssignedIdentities/read and …/federatedIdentityCredentials/read"
	if r.Application != "" {
		name, right = "application "+r.Application, "Application.Read.All of Microsoft Graph"
	}
	found, err := r.read(ctx)
	switch {
	case errors.Is(err, ErrIdentity) || errors.Is(err, ErrGroup):
		return []registration.Finding{registration.Break(checkIdentity, "`kube-iam-assume setup azure` makes an identity with --location; an application is made by az ad app create.", "%v", err)}
	case errors.Is(err, ErrDenied):
		return []registration.Finding{registration.Unseen(checkIdentity, "Allow doctor's login "+right+".", "%s: this login lacks the right %s", name, right)}
	case err != nil:
		return []registration.Finding{registration.Unseen(checkIdentity, "Log in (az login), and try again when Azure answers.", "%s: %v", name, err)}
	}
	findings := []registration.Finding{registration.Ok(checkIdentity, "%s", name), room(found)}
	if w.Subject == "" {
		return findings
	}
	return append(findings, r.credential(found, w)...)
}

func (r Registration) read(ctx context.Context) ([]credential, error) {
	p, err := r.flags().planner(r.Client)
	if err != nil {
		return nil, err
	}
	return p.list(ctx)
}

func room(found []credential) registration.Finding {
	if len(found) >= trust.AzureCredentials {
		return registration.Warn(checkRoom, "Use another identity with the same rights for further service accounts or clusters.",
			"it has %d federated credentials of at most %d: no other fits", len(found), trust.AzureCredentials)
	}
	return registration.Ok(checkRoom, "%d of %d federated credentials", len(found), trust.AzureCredentials)
}

// credential looks for the workload's, byte for byte, as Entra compares.
func (r Registration) credential(found []credential, w registration.Wanted) []registration.Finding {
	owner := " --identity " + r.Identity
	if r.Application != "" {
		owner = " --application " + r.Application
	}
	repair := "`kube-iam-assume setup azure" + owner + w.From() + w.Account() + "` writes it; Entra takes some minutes to know it."
	i := slices.IndexFunc(found, func(c credential) bool { return same(c, trust.AzureCredential{Issuer: w.Issuer, Subject: w.Subject}) })
	if i < 0 {
		return []registration.Finding{registration.Break(checkCredential, repair, "no federated credential has the issuer %s and the subject %s: tokens are refused with AADSTS700213 or AADSTS70021%s",
			w.Issuer, w.Subject, nearest(found, w))}
	}
	want := cmp.Or(r.Audience, audiences[r.Cloud])
	findings := []registration.Finding{registration.Ok(checkCredential, "%s", found[i].Name)}
	if audiences := found[i].Audiences; !slices.Contains(audiences, want) {
		return append(findings, registration.Break(checkAudience, repair, "the federated credential %s takes the audience %s, not %s: tokens are refused with AADSTS700212",
			found[i].Name, strings.Join(audiences, ", "), want))
	}
	return append(findings, registration.Ok(checkAudience, "%s", want))
}

// nearest says which credential was probably meant.
func nearest(found []credential, w registration.Wanted) string {
	for _, c := range found {
		switch {
		case c.Issuer == w.Issuer && strings.EqualFold(c.Subject, w.Subject):
			return fmt.Sprintf("; %s has the subject %s, which differs in upper and lower case", c.Name, c.Subject)
		case c.Subject == w.Subject && strings.EqualFold(strings.TrimRight(c.Issuer, "/"), w.Issuer):
			return fmt.Sprintf("; %s has the issuer %s, which differs in case or in a slash at the end", c.Name, c.Issuer)
		case c.Subject == w.Subject:
			return fmt.Sprintf("; %s has this subject, of the issuer %s", c.Name, c.Issuer)
		}
	}
	return ""
}
