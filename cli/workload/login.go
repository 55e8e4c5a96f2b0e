// Package workload adds to a workload what its pods need to log in to a cloud: a projected token with that cloud's audience, the variables by which the
// cloud's SDKs find it, and nothing that is a secret. It edits YAML as people wrote it: what it has nothing to add to stays byte for byte, and a second
// run changes nothing.
package workload

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ErrLogin means that what a login needs is missing, or is not what the cloud takes.
var ErrLogin = errors.New("invalid")

// A Login is what pods need for one cloud. The names and paths are those of the documentation, so that a workload made by hand is recognized.
type Login struct {
	Volume    string // its name
	Folder    string // where it is mounted; the token is the file "token" in it
	Audience  string
	Variables []Variable
	ConfigMap *ConfigMap // a file that the cloud's SDKs read, or nil
	Rivals    []string   // variables that the SDKs take before the token
}

// A Variable is one of the environment.
type Variable struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}

// A ConfigMap is a file that holds no secret, in a ConfigMap beside the workload.
type ConfigMap struct{ Name, Folder, File, Content string }

var (
	roleARN  = regexp.MustCompile(`^arn:aws[-a-z]*:iam::[0-9]{12}:role/[-_+=,.@/A-Za-z0-9]+$`)
	provider = regexp.MustCompile(`^projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+$`)
	email    = regexp.MustCompile(`^[a-z0-9-]+@[a-z0-9.:-]+\.gserviceaccount\.com$`)
	guid     = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	webURL   = regexp.MustCompile(`^https?://[^\s/@?#"']+(/[^\s@?#"']*)?$`)
	path     = regexp.MustCompile(`^[-A-Za-z0-9_.]+(/[-A-Za-z0-9_.]+)*$`)
)

// AWS is the login to a role. The error is ErrLogin.
func AWS(role, audience string) (Login, error) {
	if !roleARN.MatchString(role) {
		return Login{}, fmt.Errorf("%w role %q: want its ARN, arn:aws:iam::ACCOUNT:role/NAME", ErrLogin, role)
	}
	if audience == "" {
		return Login{}, fmt.Errorf("%w audience: want one, sts.amazonaws.com unless the identity provider has another", ErrLogin)
	}
	return Login{
		Volume: "aws-token", Folder: "/var/run/secrets/aws", Audience: audience,
		Variables: []Variable{{"AWS_ROLE_ARN", role}, {"AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/aws/token"}},
		Rivals:    []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"},
	}, nil
}

// GCP is the login by a Workload Identity provider, as one of Google's service accounts if impersonate is its address. The error is ErrLogin.
func GCP(name, impersonate, configMap string) (Login, error) {
	switch {
	case !provider.MatchString(name):
		return Login{}, fmt.Errorf("%w provider %q: want projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/ID", ErrLogin, name)
	case impersonate != "" && !email.MatchString(impersonate):
		return Login{}, fmt.Errorf("%w service account %q: want NAME@PROJECT.iam.gserviceaccount.com", ErrLogin, impersonate)
	}
	type source struct {
		File   string            `json:"file"`
		Format map[string]string `json:"format"`
	}
	config := struct {
		Type          string `json:"type"`
		Audience      string `json:"audience"`
		TokenType     string `json:"subject_token_type"`
		TokenURL      string `json:"token_url"`
		Impersonation string `json:"service_account_impersonation_url,omitempty"`
		Source        source `json:"credential_source"`
	}{
		Type: "external_account", Audience: "//iam.googleapis.com/" + name, TokenType: "urn:ietf:params:oauth:token-type:jwt",
		TokenURL: "https://sts.googleapis.com/v1/token", Source: source{"/var/run/secrets/google/token", map[string]string{"type": "text"}},
	}
	if impersonate != "" {
		config.Impersonation = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + impersonate + ":generateAccessToken"
	}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return Login{}, err
	}
	return Login{
		Volume: "google-token", Folder: "/var/run/secrets/google", Audience: "https://iam.googleapis.com/" + name,
		Variables: []Variable{{"GOOGLE_APPLICATION_CREDENTIALS", "/etc/google/config.json"}},
		ConfigMap: &ConfigMap{Name: configMap, Folder: "/etc/google", File: "config.json", Content: string(content) + "\n"},
	}, nil
}

// Azure is the login to an application or a user-assigned identity. The error is ErrLogin.
func Azure(tenant, client, authority, audience string) (Login, error) {
	switch {
	case !guid.MatchString(tenant):
		return Login{}, fmt.Errorf("%w tenant ID %q: want a GUID", ErrLogin, tenant)
	case !guid.MatchString(client):
		return Login{}, fmt.Errorf("%w client ID %q: want the GUID of the application or user-assigned identity", ErrLogin, client)
	case !webURL.MatchString(authority):
		return Login{}, fmt.Errorf("%w authority host %q: want https://HOST/", ErrLogin, authority)
	case !strings.HasPrefix(audience, "api://AzureADTokenExchange"):
		return Login{}, fmt.Errorf("%w audience %q: Entra takes api://AzureADTokenExchange, with a suffix in sovereign clouds", ErrLogin, audience)
	}
	return Login{
		Volume: "azure-token", Folder: "/var/run/secrets/azure", Audience: audience,
		Variables: []Variable{
			{"AZURE_TENANT_ID", tenant},
			{"AZURE_CLIENT_ID", client},
			{"AZURE_AUTHORITY_HOST", authority},
			{"AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/azure/token"},
		},
		Rivals: []string{"AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_PASSWORD"},
	}, nil
}

// Vault is the login to a role of a JWT auth method. Of its variables only VAULT_ADDR means something to Vault's clients; the others are for the
// program's own login, or for the template of an agent's settings. The error is ErrLogin.
func Vault(address, mount, role, audience string) (Login, error) {
	switch {
	case !webURL.MatchString(address):
		return Login{}, fmt.Errorf("%w address %q: want https://HOST:PORT of Vault", ErrLogin, address)
	case !path.MatchString(mount) || !path.MatchString(role):
		return Login{}, fmt.Errorf("%w mount %q or role %q: want the path of the JWT auth method, and the name of a role of it", ErrLogin, mount, role)
	case audience == "":
		return Login{}, fmt.Errorf("%w audience: want one that the role has among its bound_audiences", ErrLogin)
	}
	return Login{
		Volume: "vault-token", Folder: "/var/run/secrets/vault", Audience: audience,
		Variables: []Variable{
			{"VAULT_ADDR", address}, {"VAULT_AUTH_PATH", mount}, {"VAULT_AUTH_ROLE", role}, {"VAULT_JWT_FILE", "/var/run/secrets/vault/token"},
		},
		Rivals: []string{"VAULT_TOKEN"},
	}, nil
}
