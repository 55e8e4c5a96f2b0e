package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// apiVersion is of Microsoft.ManagedIdentity.
const apiVersion = "?api-version=2024-11-30"

// identity is a user-assigned identity in the resource manager.
type identity struct {
	caller

	id              string // of the resource
	group, location string // the location is where to make it; "" if it must be there
	is              resource
}

// resource is what the resource manager has of an identity.
type resource struct {
	ID         string            `json:"id,omitempty"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties struct {
		ClientID    string `json:"clientId"`
		PrincipalID string `json:"principalId"`
		TenantID    string `json:"tenantId"`
	} `json:"properties"`
}

// logins is what a pod's environment and a grant have to name. None of it is secret.
func (r resource) logins() string {
	return fmt.Sprintf("pods log in with AZURE_CLIENT_ID=%s and AZURE_TENANT_ID=%s; grants name the principal %s", r.Properties.ClientID, r.Properties.TenantID, r.Properties.PrincipalID)
}

type armCredential struct {
	Name       string     `json:"name,omitempty"`
	Properties properties `json:"properties"`
}

type properties struct {
	Issuer    string   `json:"issuer"`
	Subject   string   `json:"subject"`
	Audiences []string `json:"audiences"`
}

func (i *identity) remedy() string {
	return "it needs the role Managed Identity Contributor on resource group " + i.group + ", or its rights Microsoft.ManagedIdentity/userAssignedIdentities/*"
}

func (i *identity) list(ctx context.Context) ([]credential, error) {
	err := i.call(ctx, http.MethodGet, i.id+apiVersion, nil, &i.is, http.StatusOK)
	var answer *azcore.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		if answer.ErrorCode == "ResourceGroupNotFound" {
			return nil, fmt.Errorf("%w %s: az group create makes one", ErrGroup, i.group)
		}
		return nil, fmt.Errorf("%w identity %s: say --location to have it made", ErrIdentity, i.id)
	}
	if err != nil {
		return nil, explained(err, i.remedy())
	}
	type page struct {
		Value    []armCredential `json:"value"`
		NextLink string          `json:"nextLink"`
	}
	found, err := pages(ctx, i.caller, i.id+"/federatedIdentityCredentials"+apiVersion, func(p page) string { return p.NextLink })
	if err != nil {
		return nil, explained(err, i.remedy())
	}
	var all []credential
	for _, p := range found {
		for _, c := range p.Value {
			all = append(all, credential{AzureCredential: trust.AzureCredential{Name: c.Name, Issuer: c.Properties.Issuer, Subject: c.Properties.Subject, Audiences: c.Properties.Audiences}})
		}
	}
	return all, nil
}

// create makes the identity, and learns its IDs.
func (i *identity) create(ctx context.Context) (resource, error) {
	body := struct {
		Location string            `json:"location"`
		Tags     map[string]string `json:"tags"`
	}{i.location, map[string]string{tagKey: tagValue}}
	var made resource
	err := i.call(ctx, http.MethodPut, i.id+apiVersion, body, &made, http.StatusOK, http.StatusCreated)
	return made, explained(err, i.remedy())
}

func (i *identity) destroy(ctx context.Context) error {
	return explained(i.call(ctx, http.MethodDelete, i.id+apiVersion, nil, nil, http.StatusOK, http.StatusNoContent), i.remedy())
}

func (i *identity) path(name string) string {
	return i.id + "/federatedIdentityCredentials/" + url.PathEscape(name) + apiVersion
}

func (i *identity) put(ctx context.Context, c credential) error {
	body := armCredential{Properties: properties{c.Issuer, c.Subject, c.Audiences}}
	return explained(i.call(ctx, http.MethodPut, i.path(c.Name), body, nil, http.StatusOK, http.StatusCreated), i.remedy())
}

func (i *identity) delete(ctx context.Context, c credential) error {
	err := i.call(ctx, http.MethodDelete, i.path(c.Name), nil, nil, http.StatusOK, http.StatusNoContent)
	if status(err, http.StatusNotFound) {
		return nil
	}
	return explained(err, i.remedy())
}

// parts are the names in an identity's ID, which identityPattern matches.
func parts(id string) (subscription, group, name string) {
	m := identityPattern.FindStringSubmatch(id)
	return strings.ToLower(m[1]), m[2], m[3]
}
