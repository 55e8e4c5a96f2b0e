package trust

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
)

// VaultAudience is that of tokens for Vault and OpenBao unless somebody chooses another, such as the server's URL.
const VaultAudience = "vault"

// Vault is a server of Vault's or OpenBao's API.
type Vault struct {
	Audience string
	Mount    string   // of the JWT auth method; "" for kubernetes-CLUSTER
	JWKSURL  bool     // give Vault the URL of the keys instead of the issuer's, where it can't fetch the discovery document
	Policies []string // of the roles; none: Vault's own default policy
	TTL      string   // of Vault's tokens, such as 1h
	CA       string   // PEM of the authority of the issuers' hosts, if it is not a public one
}

// VaultReport is one mount for each cluster, as a mount has one issuer.
type VaultReport struct {
	Mounts []VaultMount `json:"mounts"`
	Notes  []string     `json:"notes,omitempty"`
}

// VaultMount is a JWT auth method with its configuration and roles.
type VaultMount struct {
	Path   string      `json:"path"`
	Config VaultConfig `json:"config"`
	Roles  []VaultRole `json:"roles"`
}

// VaultConfig is the body of a write to auth/MOUNT/config.
type VaultConfig struct {
	OIDCDiscoveryURL string   `json:"oidc_discovery_url,omitempty"`
	JWKSURL          string   `json:"jwks_url,omitempty"`
	BoundIssuer      string   `json:"bound_issuer"`
	SupportedAlgs    []string `json:"jwt_supported_algs"`
	CA               string   `json:"oidc_discovery_ca_pem,omitempty"`
	JWKSCA           string   `json:"jwks_ca_pem,omitempty"`
}

// VaultRole is the body of a write to auth/MOUNT/role/NAME.
type VaultRole struct {
	Name           string            `json:"name"`
	RoleType       string            `json:"role_type"`
	BoundAudiences []string          `json:"bound_audiences"`
	BoundSubject   string            `json:"bound_subject,omitempty"`
	BoundClaims    map[string]string `json:"bound_claims"`
	UserClaim      string            `json:"user_claim"`
	ClaimMappings  map[string]string `json:"claim_mappings"`
	TokenPolicies  []string          `json:"token_policies"`
	TokenTTL       string            `json:"token_ttl"`
}

// Claims of Kubernetes' tokens, as JSON pointers. Without the leading slash, Vault looks for a top-level claim with a slash in its name, which there is
// none of, and never finds it.
const (
	claimNamespace = "/kubernetes.io/namespace"
	claimAccount   = "/kubernetes.io/serviceaccount/name"
	claimUID       = "/kubernetes.io/serviceaccount/uid"
)

var (
	// kubernetesAlgorithms are those that API servers sign with. Vault would take eight more.
	kubernetesAlgorithms = []string{"RS256", "ES256", "ES384", "ES512"}

	mountPattern  = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9_.]*(/[A-Za-z0-9][-A-Za-z0-9_.]*)*$`)
	policyPattern = regexp.MustCompile(`^[-A-Za-z0-9_./]+$`)
	ttlPattern    = regexp.MustCompile(`^[1-9][0-9]*[smh]?$`)
)

// Report writes mounts, and a role for everybody in the selection. The error is ErrInput.
func (v Vault) Report(s Selection) (VaultReport, error) {
	if err := v.check(s); err != nil {
		return VaultReport{}, err
	}
	r := VaultReport{Notes: s.Warnings()}
	for _, c := range s.Clusters {
		r.Mounts = append(r.Mounts, v.mount(c, s))
	}
	r.Notes = append(r.Notes, "note: Vault goes on accepting a key that left the issuer until it meets an unknown one. After a revocation write the mount's configuration again: that empties its cache.")
	return r, nil
}

func (v Vault) check(s Selection) error {
	if err := CheckAudience(v.Audience, maxEntra); err != nil {
		return err
	}
	if err := s.CheckClusters(); err != nil { // without accounts there are no roles
		return err
	}
	switch {
	case v.Mount != "" && !mountPattern.MatchString(v.Mount):
		return fmt.Errorf("%w mount %q: want a path of letters, digits and - _ . without slashes at its ends", ErrInput, v.Mount)
	case v.Mount != "" && len(s.Clusters) > 1:
		return fmt.Errorf("%w call: --mount with %d clusters: a mount has one issuer, so leave it out", ErrInput, len(s.Clusters))
	case !ttlPattern.MatchString(v.TTL):
		return fmt.Errorf("%w time to live %q: want one such as 1h", ErrInput, v.TTL)
	}
	for _, p := range v.Policies {
		if !policyPattern.MatchString(p) || p == "root" {
			return fmt.Errorf("%w policy %q: want the name of one of Vault's policies, and not root", ErrInput, p)
		}
	}
	if i := slices.IndexFunc(s.Clusters, func(c Cluster) bool { return c.Issuer == v.Audience }); i >= 0 {
		return fmt.Errorf("%w audience %s: it is the issuer, which API servers make an audience of every pod's token unless --api-audiences says otherwise", ErrInput, v.Audience)
	}
	return nil
}

func (v Vault) mount(c Cluster, s Selection) VaultMount {
	m := VaultMount{Path: v.Mount, Config: VaultConfig{BoundIssuer: c.Issuer, SupportedAlgs: kubernetesAlgorithms}}
	if m.Path == "" {
		m.Path = "kubernetes-" + c.ID
	}
	if v.JWKSURL {
		m.Config.JWKSURL, m.Config.JWKSCA = c.Issuer+"/openid/v1/jwks", v.CA
	} else {
		m.Config.OIDCDiscoveryURL, m.Config.CA = c.Issuer, v.CA
	}
	for _, account := range s.Accounts {
		role := v.role(account.Namespace + "." + account.Name)
		role.BoundSubject = account.Subject()
		role.BoundClaims = map[string]string{claimNamespace: account.Namespace, claimAccount: account.Name}
		m.Roles = append(m.Roles, role)
	}
	for _, namespace := range s.Namespaces {
		role := v.role(namespace)
		role.BoundClaims = map[string]string{claimNamespace: namespace}
		m.Roles = append(m.Roles, role)
	}
	return m
}

// role is what all roles have. Its entity is told by the subject, so that one account is one client in Vault's audit log and its bill.
func (v Vault) role(name string) VaultRole {
	policies := v.Policies
	if policies == nil {
		policies = []string{}
	}
	return VaultRole{
		Name: name, RoleType: "jwt", BoundAudiences: []string{v.Audience}, UserClaim: "sub",
		ClaimMappings: map[string]string{claimNamespace: "namespace", claimAccount: "service_account", claimUID: "service_account_uid"},
		TokenPolicies: policies, TokenTTL: v.TTL,
	}
}

// Text writes what Vault's API is sent, path by path.
func (r VaultReport) Text(out io.Writer) error {
	write := func(path string, body any) error {
		text, err := json.MarshalIndent(body, "", "  ")
		if err == nil {
			_, err = fmt.Fprintf(out, "# vault write %s -\n%s\n", path, text)
		}
		return err
	}
	for _, m := range r.Mounts {
		fmt.Fprintf(out, "# vault auth enable -path=%s jwt\n", m.Path)
		if err := write("auth/"+m.Path+"/config", m.Config); err != nil {
			return err
		}
		for _, role := range m.Roles {
			if err := write("auth/"+m.Path+"/role/"+role.Name, role); err != nil {
				return err
			}
		}
	}
	return nil
}
