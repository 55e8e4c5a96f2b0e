// Package azure is `setup azure`: it gives a user-assigned identity of Azure the federated credentials by which service accounts log in as it. Credentials of
// others on the same identity stay as they are.
package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// ErrIdentity means that the identity is not there.
var ErrIdentity = errors.New("there is no identity")

const callTimeout = time.Minute

// planner finds out what differs.
type planner struct {
	*manager
	plan *plan.Plan
}

func (p *planner) set(ctx context.Context, r trust.AzureReport) error {
	found, err := p.find(ctx)
	if err != nil {
		return err
	}
	for _, note := range r.Notes {
		p.plan.Note("%s", note)
	}
	total := len(found)
	for _, want := range r.Identities[0].Credentials {
		i := slices.IndexFunc(found, func(c credential) bool { return same(c, want) || c.Name == want.Name })
		switch {
		case i < 0:
			total++
			p.write(plan.Create, want.Name, want, fmt.Sprintf("subject %s of %s", want.Subject, want.Issuer))
		case !same(found[i], want) || !slices.Equal(found[i].Properties.Audiences, want.Audiences):
			is := found[i].Properties
			p.write(plan.Update, found[i].Name, want, fmt.Sprintf("subject %s of %s, audience %s\ninstead of %s of %s, audience %s",
				want.Subject, want.Issuer, strings.Join(want.Audiences, ", "), is.Subject, is.Issuer, strings.Join(is.Audiences, ", ")))
		}
	}
	if total > trust.AzureCredentials {
		return fmt.Errorf("%w: the identity has %d federated credentials, and would have %d; at most are %d: use another identity for some of the service accounts or clusters",
			trust.ErrTooLong, len(found), total, trust.AzureCredentials)
	}
	if len(p.plan.Changes) > 0 {
		p.plan.Note("note: a new credential takes some minutes until Entra knows it: AADSTS70021 and AADSTS700213 until then.")
	}
	return nil
}

// same compares as Entra does: byte for byte.
func same(c credential, want trust.AzureCredential) bool {
	return c.Properties.Issuer == want.Issuer && c.Properties.Subject == want.Subject
}

func (p *planner) write(do plan.Verb, name string, want trust.AzureCredential, detail string) {
	p.plan.Add(do, "federated credential "+name, detail, func(ctx context.Context) error { return p.put(ctx, name, want) })
}

func (p *planner) remove(ctx context.Context, r trust.AzureReport) error {
	found, err := p.find(ctx)
	if errors.Is(err, ErrIdentity) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, identity := range r.Identities {
		for _, unwanted := range identity.Credentials {
			i := slices.IndexFunc(found, func(c credential) bool { return same(c, unwanted) })
			if i < 0 {
				continue
			}
			name := found[i].Name
			p.plan.Add(plan.Delete, "federated credential "+name, fmt.Sprintf("subject %s of %s", unwanted.Subject, unwanted.Issuer), func(ctx context.Context) error { return p.delete(ctx, name) })
		}
	}
	p.plan.Note("note: the identity and its roles stay. Access tokens that were given out work until they expire, up to a day.")
	return nil
}

// find reads what is there. The error is ErrIdentity if there is no such identity.
func (p *planner) find(ctx context.Context) ([]credential, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var answer *azcore.ResponseError
	err := p.get(ctx)
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w %s: az identity create makes one", ErrIdentity, p.identity)
	}
	if err != nil {
		return nil, err
	}
	return p.list(ctx)
}
