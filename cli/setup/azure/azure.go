// Package azure is `setup azure`: it makes a user-assigned identity of Azure, or takes one that is there or an application, and gives it the federated
// credentials by which service accounts log in as it. Credentials of others on the same identity stay as they are.
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

var (
	// ErrIdentity means that the identity or the application is not there.
	ErrIdentity = errors.New("there is no")
	// ErrGroup means that the resource group is not there, in which the identity would be.
	ErrGroup = errors.New("there is no resource group")
	// ErrDenied means that the login may not do it.
	ErrDenied = errors.New("the login may not do that")
)

const (
	callTimeout = time.Minute

	// An identity that setup made says so, and only such a one is ever deleted.
	tagKey, tagValue = "managed-by", "kube-iam-assume"
)

// credential is a federated credential, and how its owner's API names it.
type credential struct {
	id string // Microsoft Graph's; "" in the resource manager, which goes by name
	trust.AzureCredential
}

// owner is who has federated credentials: a user-assigned identity or an application.
type owner interface {
	// list reads all credentials. The error is ErrIdentity or ErrGroup where there is no owner.
	list(ctx context.Context) ([]credential, error)
	// put makes the credential, or brings the one of the same id or name to it.
	put(ctx context.Context, c credential) error
	// delete takes the credential away; one that is gone is no error.
	delete(ctx context.Context, c credential) error
}

// planner finds out what differs.
type planner struct {
	owner
	identity *identity // nil where the owner is an application
	plan     *plan.Plan
}

func (p *planner) set(ctx context.Context, r trust.AzureReport) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := p.list(ctx)
	if errors.Is(err, ErrIdentity) && p.identity != nil && p.identity.location != "" {
		p.make()
	} else if err != nil {
		return err
	}
	for _, note := range r.Notes {
		p.plan.Note("%s", note)
	}
	total := len(found)
	for _, want := range r.Identities[0].Credentials {
		i := slices.IndexFunc(found, func(c credential) bool { return same(c, want) })
		if i < 0 {
			i = slices.IndexFunc(found, func(c credential) bool { return c.Name == want.Name })
		}
		switch {
		case i < 0:
			total++
			p.write(plan.Create, credential{AzureCredential: want}, fmt.Sprintf("subject %s of %s", want.Subject, want.Issuer))
		case !same(found[i], want) || !slices.Equal(found[i].Audiences, want.Audiences):
			is := found[i]
			want.Name = is.Name
			p.write(plan.Update, credential{is.id, want}, fmt.Sprintf("subject %s of %s, audience %s\ninstead of %s of %s, audience %s",
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
	p.noteOfIdentity()
	return nil
}

// same compares as Entra does: byte for byte.
func same(c credential, want trust.AzureCredential) bool {
	return c.Issuer == want.Issuer && c.Subject == want.Subject
}

// make plans the identity itself, and tells what pods have to know of it once it is there.
func (p *planner) make() {
	at := len(p.plan.Changes)
	p.plan.Add(plan.Create, "identity "+p.identity.id, "in "+p.identity.location, func(ctx context.Context) error {
		made, err := p.identity.create(ctx)
		if err == nil {
			p.plan.Changes[at].Result = made.logins()
		}
		return err
	})
	p.plan.Note("note: the identity has no rights of its own making. Give it some: az role assignment create --assignee-object-id PRINCIPAL-ID --assignee-principal-type ServicePrincipal --role … --scope …")
}

// noteOfIdentity says what pods have to know, and where the identity is not as asked for.
func (p *planner) noteOfIdentity() {
	if p.identity == nil || p.identity.is.ID == "" {
		return
	}
	p.plan.Note("note: %s", p.identity.is.logins())
	if at := p.identity.location; at != "" && !strings.EqualFold(at, p.identity.is.Location) {
		p.plan.Note("note: the identity is in %s, not in %s, and can't move. For logins that makes no difference.", p.identity.is.Location, at)
	}
}

func (p *planner) write(do plan.Verb, c credential, detail string) {
	p.plan.Add(do, "federated credential "+c.Name, detail, func(ctx context.Context) error { return p.put(ctx, c) })
}

// remove takes the credentials away, and then the identity if setup made it and nobody else has a credential on it.
func (p *planner) remove(ctx context.Context, r trust.AzureReport) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	left, err := p.list(ctx)
	if errors.Is(err, ErrIdentity) || errors.Is(err, ErrGroup) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, each := range r.Identities {
		for _, unwanted := range each.Credentials {
			i := slices.IndexFunc(left, func(c credential) bool { return same(c, unwanted) })
			if i < 0 {
				continue
			}
			c := left[i]
			left = slices.Delete(left, i, i+1)
			p.plan.Add(plan.Delete, "federated credential "+c.Name, fmt.Sprintf("subject %s of %s", unwanted.Subject, unwanted.Issuer), func(ctx context.Context) error { return p.delete(ctx, c) })
		}
	}
	const outlive = "Access tokens that were given out work until they expire, up to a day."
	if p.identity == nil || p.identity.is.Tags[tagKey] != tagValue || len(left) > 0 {
		p.plan.Note("note: the identity and its roles stay. %s", outlive)
		return nil
	}
	p.plan.Add(plan.Delete, "identity "+p.identity.id, "setup made it, and nobody has a credential on it", p.identity.destroy)
	p.plan.Note("note: role assignments of the identity stay behind, for nobody: az role assignment delete --assignee %s. %s", p.identity.is.Properties.PrincipalID, outlive)
	return nil
}

// explained says what a refusal means and what would mend it.
func explained(err error, remedy string) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusForbidden {
		return fmt.Errorf("%w (%s): %s", ErrDenied, answer.ErrorCode, remedy)
	}
	return err
}

// status reports whether an answer had this code.
func status(err error, code int) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == code
}
