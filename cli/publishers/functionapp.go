package publishers

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// openFunctionApp asks Entra for an access token, which the function itself verifies.
func openFunctionApp(a FunctionApp) (door, error) {
	credential, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{TenantID: a.TenantID})
	if err != nil {
		return nil, entraLogin(err, a)
	}
	return web{
		client: newClient(), url: a.URL,
		right: "the token must be for " + a.Audience + " (the app setting OPERATOR_AUDIENCE), and the object ID of whoever is logged in be in OPERATORS (the module's operators): az ad signed-in-user show --query id",
		token: func(ctx context.Context) (string, error) {
			token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{a.Audience + "/.default"}, TenantID: a.TenantID})
			if err != nil {
				return "", entraLogin(err, a)
			}
			return token.Token, nil
		},
	}, nil
}

// entraLogin puts what every kind of login complained of on one line.
func entraLogin(err error, a FunctionApp) error {
	return fmt.Errorf("%w to Entra for %s: %s: az login; if that is done, the app registration must expose a scope, and authorize the client that is used (the Azure CLI is 04b07795-8ddb-461a-bbee-02f9e1bf7b46)",
		ErrLogin, a.Audience, strings.Join(strings.Fields(err.Error()), " "))
}
