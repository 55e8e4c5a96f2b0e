package azure

import (
	"context"
	"fmt"
	"net/http"

	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// application is an app registration that is there, by Microsoft Graph. It is never made or deleted: what belongs to it (its service principal, consent,
// owners) is more than this command could put back.
type application struct {
	caller

	clientID string
}

type graphCredential struct {
	ID string `json:"id,omitempty"`
	trust.AzureCredential
}

const graphRemedy = "it needs Application.ReadWrite.OwnedBy of Microsoft Graph for an application that it owns, Application.ReadWrite.All for others, or the role Cloud Application Administrator"

func (a *application) path() string {
	return "/v1.0/applications(appId='" + a.clientID + "')/federatedIdentityCredentials"
}

func (a *application) list(ctx context.Context) ([]credential, error) {
	type page struct {
		Value    []graphCredential `json:"value"`
		NextLink string            `json:"@odata.nextLink"`
	}
	found, err := pages(ctx, a.caller, a.path(), func(p page) string { return p.NextLink })
	if status(err, http.StatusNotFound) {
		return nil, fmt.Errorf("%w application with the client ID %s in the login's tenant: az ad app create makes one", ErrIdentity, a.clientID)
	}
	if err != nil {
		return nil, explained(err, graphRemedy)
	}
	var all []credential
	for _, p := range found {
		for _, c := range p.Value {
			all = append(all, credential{c.ID, c.AzureCredential})
		}
	}
	return all, nil
}

func (a *application) put(ctx context.Context, c credential) error {
	if c.id == "" {
		return explained(a.call(ctx, http.MethodPost, a.path(), c.AzureCredential, nil, http.StatusCreated), graphRemedy)
	}
	changed := properties{c.Issuer, c.Subject, c.Audiences} // the name can't change
	return explained(a.call(ctx, http.MethodPatch, a.path()+"/"+c.id, changed, nil, http.StatusNoContent, http.StatusOK), graphRemedy)
}

func (a *application) delete(ctx context.Context, c credential) error {
	err := a.call(ctx, http.MethodDelete, a.path()+"/"+c.id, nil, nil, http.StatusNoContent)
	if status(err, http.StatusNotFound) {
		return nil
	}
	return explained(err, graphRemedy)
}
