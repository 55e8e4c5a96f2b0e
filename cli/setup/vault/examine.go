package vault

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/registration"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
	"github.com/kube-iam-assume/kube-iam-assume/shared/jwks"
)

// The checks of doctor's that Vault answers.
const (
	checkMount    = "vault.mount"
	checkIssuer   = "vault.issuer"
	checkKeys     = "vault.keys"
	checkRole     = "vault.role"
	checkAudience = "vault.audience"
	checkSubject  = "vault.subject"
)

// Checks are the IDs of what Examine finds.
func Checks() []string {
	return []string{checkMount, checkIssuer, checkKeys, checkRole, checkAudience, checkSubject}
}

// A Registration is what a JWT auth method knows of an issuer.
type Registration struct {
	Address   string // "" for VAULT_ADDR
	Namespace string // "" for VAULT_NAMESPACE
	Mount     string // "" for kubernetes-CLUSTER
	Role      string // "" for NAMESPACE.NAME
	Audience  string // "" for the usual one
}

// examiner reads for one issuer.
type examiner struct {
	Registration
	registration.Wanted
	planner
}

// Examine reads the auth method's configuration and the workload's role.
func (r Registration) Examine(ctx context.Context, w registration.Wanted) []registration.Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	client, err := connect(or(r.Address, "VAULT_ADDR"), or(r.Namespace, "VAULT_NAMESPACE"))
	if err != nil {
		return []registration.Finding{registration.Unseen(checkMount, "Log in (vault login, bao login) and export VAULT_ADDR and VAULT_TOKEN.", "%v", err)}
	}
	r.Mount, r.Audience = cmp.Or(r.Mount, "kubernetes-"+w.Cluster), cmp.Or(r.Audience, trust.VaultAudience)
	x := &examiner{r, w, planner{client: client}}
	config, err := x.read(ctx, "auth/"+r.Mount+"/config")
	switch {
	case errors.Is(err, errAbsent):
		return []registration.Finding{registration.Break(checkMount, x.repair("makes it")+" If it is elsewhere, name it with --vault-mount.", "there is no configured JWT auth method at %s", r.Mount)}
	case err != nil:
		return []registration.Finding{x.unseen(checkMount, "auth/"+r.Mount+"/config", err)}
	}
	findings := []registration.Finding{registration.Ok(checkMount, "%s", r.Mount), x.issuer(config), x.keys(config)}
	if w.Subject == "" {
		return findings
	}
	return append(findings, x.role(ctx)...)
}

// repair is the command that makes it so.
func (x *examiner) repair(does string) string {
	command := "`kube-iam-assume setup vault" + x.From()
	if x.Mount != "kubernetes-"+x.Cluster {
		command += " --mount " + x.Mount
	}
	if x.Audience != trust.VaultAudience {
		command += " --audience " + x.Audience
	}
	return command + x.Wanted.Account() + "` " + does + "."
}

// unseen is for an answer that was none. Vault denies what is not there, too, to who may not read it.
func (x *examiner) unseen(check, path string, err error) registration.Finding {
	if errors.Is(err, errDenied) {
		return registration.Unseen(check, "Give the token a policy with read on "+path+".", "the token lacks the capability read on %s, or there is nothing", path)
	}
	return registration.Unseen(check, "See VAULT_ADDR and VAULT_TOKEN, and try again when Vault answers.", "%v", err)
}

func (x *examiner) issuer(config object) registration.Finding {
	switch bound := text(config, "bound_issuer"); bound {
	case x.Issuer:
		return registration.Ok(checkIssuer, "%s", bound)
	case "":
		return registration.Break(checkIssuer, x.repair("binds it"), "no issuer is bound: tokens of any issuer are taken that one of these keys signed, those of legacy Secrets included")
	default:
		return registration.Break(checkIssuer, x.repair("with another --mount makes one, since a mount has one issuer"), "bound_issuer is %s, not %s%s", bound, x.Issuer, slashOrCase(bound, x.Issuer))
	}
}

func slashOrCase(a, b string) string {
	if strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/")) {
		return " (they differ in case or in a slash at the end)"
	}
	return ""
}

// keys are where the auth method has its keys from, and whether it takes those that are published.
func (x *examiner) keys(config object) registration.Finding {
	if algorithms := texts(config["jwt_supported_algs"]); len(algorithms) > 0 {
		for _, key := range x.Keys {
			if !slices.Contains(algorithms, key.Algorithm()) {
				return registration.Break(checkKeys, x.repair("corrects it"), "jwt_supported_algs is %s, and the key %s is for %s", strings.Join(algorithms, ", "), key.ID(), key.Algorithm())
			}
		}
	}
	discovery, url, static := text(config, "oidc_discovery_url"), text(config, "jwks_url"), texts(config["jwt_validation_pubkeys"])
	switch {
	case len(static) > 0:
		return x.static(static)
	case discovery == x.Issuer || strings.HasPrefix(url, x.Issuer+"/"):
		return registration.Ok(checkKeys, "read at %s", cmp.Or(discovery, url))
	case discovery != "":
		return registration.Break(checkKeys, x.repair("corrects it"), "oidc_discovery_url is %s, not %s%s", discovery, x.Issuer, slashOrCase(discovery, x.Issuer))
	case url != "":
		return registration.Warn(checkKeys, "See that it is a mirror of the issuer: --mirror compares it.", "keys are read at %s", url)
	}
	return registration.Break(checkKeys, x.repair("writes it"), "it has neither oidc_discovery_url nor jwks_url")
}

// static compares keys that were written into the configuration: nobody brings those up to date.
func (x *examiner) static(pems []string) registration.Finding {
	var written jwks.Set
	for _, text := range pems {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			continue
		}
		if public, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if key, err := jwks.New(public); err == nil {
				written = append(written, key)
			}
		}
	}
	for _, key := range x.Keys {
		if !slices.ContainsFunc(written, func(k jwks.Key) bool { return k.SPKI() == key.SPKI() }) {
			return registration.Break(checkKeys, "Use the issuer's URL in place of keys: "+x.repair("with another --mount makes such an auth method"),
				"jwt_validation_pubkeys lacks the published key %s: tokens signed with it are refused", key.ID())
		}
	}
	return registration.Warn(checkKeys, "Use the issuer's URL in place of keys, before the next rotation.", "%d keys are written into the configuration: the next rotation makes them stale", len(pems))
}

func (x *examiner) role(ctx context.Context) []registration.Finding {
	namespace, account := x.Workload()
	name := cmp.Or(x.Role, namespace+"."+account)
	path := "auth/" + x.Mount + "/role/" + name
	role, err := x.planner.read(ctx, path)
	switch {
	case errors.Is(err, errAbsent):
		return []registration.Finding{registration.Break(checkRole, x.repair("makes it"), "there is no role %s", name)}
	case err != nil:
		return []registration.Finding{x.unseen(checkRole, path, err)}
	case text(role, "role_type") != "jwt":
		return []registration.Finding{registration.Break(checkRole, x.repair("corrects it"), "the role %s is of the type %q: workloads can't log in with it", name, text(role, "role_type"))}
	}
	audience := registration.Ok(checkAudience, "%s", x.Audience)
	if bound := texts(role["bound_audiences"]); !slices.Contains(bound, x.Audience) {
		audience = registration.Break(checkAudience, x.repair("corrects it"), "the role's bound_audiences are %q, without %s: logins are refused with \"invalid audience (aud) claim\"", bound, x.Audience)
	}
	return []registration.Finding{registration.Ok(checkRole, "%s", name), audience, x.subject(role)}
}

// subject is whom the role lets in: the workload, and nobody whom no claim tells from it.
func (x *examiner) subject(role object) registration.Finding {
	namespace, account := x.Workload()
	known := map[string]string{
		"sub": x.Subject, "/sub": x.Subject, "iss": x.Issuer, "/iss": x.Issuer,
		"/kubernetes.io/namespace": namespace, "/kubernetes.io/serviceaccount/name": account,
	}
	told := text(role, "bound_subject") != ""
	if bound := text(role, "bound_subject"); told && bound != x.Subject {
		return registration.Break(checkSubject, x.repair("corrects it"), "the role's bound_subject is %s, not %s", bound, x.Subject)
	}
	claims, _ := role["bound_claims"].(map[string]any)
	var open []string
	for _, claim := range slices.Sorted(maps.Keys(claims)) {
		wanted := texts(claims[claim])
		value, is := known[claim]
		switch {
		case strings.HasPrefix(claim, "kubernetes.io/"):
			return registration.Break(checkSubject, x.repair("corrects it"), "the role's bound claim %s is never found: a claim inside another is a JSON pointer, /%s", claim, claim)
		case !is:
			open = append(open, claim)
		case !bound(wanted, value, text(role, "bound_claims_type") == "glob"):
			return registration.Break(checkSubject, x.repair("corrects it"), "the role's bound claim %s is %s, the token has %s", claim, strings.Join(wanted, ", "), value)
		case !strings.HasSuffix(claim, "iss") && !slices.Contains(wanted, "*"):
			told = true
		}
	}
	switch {
	case !told:
		return registration.Break(checkSubject, x.repair("binds it"), "the role binds neither subject nor namespace: every service account of the cluster gets its policies")
	case len(open) > 0:
		return registration.Warn(checkSubject, "See that the token has them: `kube-iam-assume inspect`.", "whether it lets %s in depends on the claims %s", x.Subject, strings.Join(open, ", "))
	}
	return registration.Ok(checkSubject, "%s", x.Subject)
}

// bound reports whether a claim has one of the values. In a pattern, * is any text.
func bound(wanted []string, value string, glob bool) bool {
	return slices.ContainsFunc(wanted, func(want string) bool {
		if !glob {
			return want == value
		}
		return matches(strings.Split(want, "*"), value)
	})
}

// matches holds a text against a pattern's parts between asterisks.
func matches(parts []string, value string) bool {
	rest, begins := strings.CutPrefix(value, parts[0])
	if len(parts) == 1 || !begins {
		return value == parts[0]
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

func text(o object, name string) string {
	s, _ := o[name].(string)
	return s
}

// texts is a list, or one text, which Vault takes as well.
func texts(value any) []string {
	var all []string
	switch value := value.(type) {
	case string:
		all = append(all, value)
	case []any:
		for _, each := range value {
			all = append(all, fmt.Sprint(each))
		}
	}
	return all
}
