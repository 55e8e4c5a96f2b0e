// Package vault is `setup vault`: it makes the JWT auth method for a cluster's issuer in HashiCorp Vault or OpenBao, and the roles of its service accounts.
// The issuer is always bound. A mount that is somebody else's is refused, not taken over.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/kube-iam-assume/kube-iam-assume/cli/setup/plan"
	"github.com/kube-iam-assume/kube-iam-assume/cli/trust"
)

// ErrMount means that a path is in use for something else.
var ErrMount = errors.New("the mount")

// object is a JSON object of Vault's API.
type object = map[string]any

// planner finds out what differs.
type planner struct {
	*client
	plan                *plan.Plan
	flush               bool
	policies, timeGiven bool // whether the person said what policies and what life time
}

func (p *planner) set(ctx context.Context, r trust.VaultReport) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, note := range r.Notes {
		p.plan.Note("%s", note)
	}
	for _, m := range r.Mounts {
		if err := p.setMount(ctx, m); err != nil {
			return fmt.Errorf("auth method %s: %w", m.Path, err)
		}
	}
	return nil
}

func (p *planner) setMount(ctx context.Context, m trust.VaultMount) error {
	there, err := p.mounted(ctx, m.Path)
	if err != nil {
		return err
	}
	if !there {
		p.plan.Add(plan.Create, "auth method "+m.Path, "type jwt", func(ctx context.Context) error {
			return p.call(ctx, http.MethodPost, "sys/auth/"+m.Path, object{"type": "jwt", "description": description(m)}, nil)
		})
	}
	if err := p.setConfig(ctx, m, there); err != nil {
		return err
	}
	for _, role := range m.Roles {
		if err := p.setRole(ctx, m, role, there); err != nil {
			return fmt.Errorf("role %s: %w", role.Name, err)
		}
	}
	return nil
}

func description(m trust.VaultMount) string { return "Kubernetes, " + m.Config.BoundIssuer }

// roleFields are the body of a role's write.
func roleFields(role trust.VaultRole) object {
	body := fields(role)
	delete(body, "name")
	body["bound_claims_type"] = "string" // no patterns
	body["bound_subject"] = role.BoundSubject
	return body
}

// mounted reports whether the auth method is there. It is ErrMount if it is one of another type.
func (p *planner) mounted(ctx context.Context, path string) (bool, error) {
	var answer struct {
		Data map[string]struct {
			Type string `json:"type"`
		} `json:"data"`
	}
	if err := p.call(ctx, http.MethodGet, "sys/auth", nil, &answer); err != nil {
		return false, err
	}
	for other, m := range answer.Data {
		other = strings.TrimSuffix(other, "/")
		switch {
		case other == path && m.Type == "jwt":
			return true, nil
		case other == path, strings.HasPrefix(path, other+"/"), strings.HasPrefix(other, path+"/"):
			return false, fmt.Errorf("%w %s is there with the type %s: choose another --mount", ErrMount, other, m.Type)
		}
	}
	return false, nil
}

func (p *planner) setConfig(ctx context.Context, m trust.VaultMount, there bool) error {
	path := "auth/" + m.Path + "/config"
	want := fields(m.Config)
	found := object{}
	if there {
		var err error
		if found, err = p.read(ctx, path); err != nil && !errors.Is(err, errAbsent) {
			return err
		}
		if err := notOurs(found, m.Config.BoundIssuer); err != nil {
			return err
		}
	}
	different := differences(found, want)
	do, detail := plan.Update, strings.Join(different, "\n")
	switch {
	case len(found) == 0:
		do = plan.Create
	case len(different) == 0 && !p.flush:
		return nil
	case len(different) == 0:
		detail = "the same again, which makes Vault forget the keys that it has read"
	}
	if role, _ := found["default_role"].(string); role != "" { // a write forgets what it does not say
		want["default_role"] = role
	}
	p.plan.Add(do, "configuration of auth method "+m.Path, detail, func(ctx context.Context) error {
		return p.call(ctx, http.MethodPost, path, want, nil)
	})
	return nil
}

// notOurs refuses a mount that other people's logins depend on.
func notOurs(found object, issuer string) error {
	text := func(field string) string { s, _ := found[field].(string); return s }
	if text("oidc_client_id") != "" {
		return fmt.Errorf("%w is for logins of people, and writing its configuration would lose its client's secret: choose another --mount", ErrMount)
	}
	for _, field := range []string{"bound_issuer", "oidc_discovery_url"} {
		if other := text(field); other != "" && other != issuer {
			return fmt.Errorf("%w has %s %s: a mount has one issuer, so choose another --mount", ErrMount, field, other)
		}
	}
	if other := text("jwks_url"); other != "" && !strings.HasPrefix(other, issuer+"/") {
		return fmt.Errorf("%w reads keys at %s: choose another --mount", ErrMount, other)
	}
	if keys, _ := found["jwt_validation_pubkeys"].([]any); len(keys) > 0 {
		return fmt.Errorf("%w has keys written into it: choose another --mount", ErrMount)
	}
	return nil
}

func (p *planner) setRole(ctx context.Context, m trust.VaultMount, role trust.VaultRole, there bool) error {
	path := "auth/" + m.Path + "/role/" + role.Name
	want := roleFields(role)
	found := object{}
	if there {
		var err error
		if found, err = p.read(ctx, path); err != nil && !errors.Is(err, errAbsent) {
			return err
		}
	}
	if len(found) > 0 { // its rights are their owner's, unless he says so
		if !p.policies {
			delete(want, "token_policies")
		}
		if !p.timeGiven {
			delete(want, "token_ttl")
		}
	}
	different := differences(found, want)
	if len(found) > 0 && len(different) == 0 {
		return nil
	}
	do := plan.Update
	if len(found) == 0 {
		do, different = plan.Create, []string{"lets in " + who(role)}
	}
	p.plan.Add(do, "role "+role.Name+" of auth method "+m.Path, strings.Join(different, "\n"), func(ctx context.Context) error {
		return p.call(ctx, http.MethodPost, path, want, nil)
	})
	return nil
}

func who(role trust.VaultRole) string {
	if role.BoundSubject != "" {
		return role.BoundSubject
	}
	return "every service account of the namespace " + role.Name
}

// remove takes roles away, and the auth method when none is left: with it go all tokens that it gave out.
func (p *planner) remove(ctx context.Context, r trust.VaultReport) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, m := range r.Mounts {
		if err := p.removeMount(ctx, m); err != nil {
			return fmt.Errorf("auth method %s: %w", m.Path, err)
		}
	}
	return nil
}

func (p *planner) removeMount(ctx context.Context, m trust.VaultMount) error {
	there, err := p.mounted(ctx, m.Path)
	if err != nil || !there {
		return err
	}
	found, err := p.read(ctx, "auth/"+m.Path+"/config")
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	if err := notOurs(found, m.Config.BoundIssuer); err != nil {
		return err
	}
	var listing struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	err = p.call(ctx, http.MethodGet, "auth/"+m.Path+"/role?list=true", nil, &listing)
	if err != nil && !errors.Is(err, errAbsent) {
		return err
	}
	left := listing.Data.Keys
	for _, role := range m.Roles {
		if !slices.Contains(left, role.Name) {
			continue
		}
		left = slices.DeleteFunc(slices.Clone(left), func(name string) bool { return name == role.Name })
		p.plan.Add(plan.Delete, "role "+role.Name+" of auth method "+m.Path, "let in "+who(role), func(ctx context.Context) error {
			return p.call(ctx, http.MethodDelete, "auth/"+m.Path+"/role/"+role.Name, nil, nil)
		})
	}
	if len(left) > 0 {
		p.plan.Note("note: auth method %s stays for its roles %s. Tokens that a deleted role gave out go on working until they expire: vault token revoke, or delete the auth method.",
			m.Path, strings.Join(left, ", "))
		return nil
	}
	p.plan.Add(plan.Delete, "auth method "+m.Path, "and every token that it gave out", func(ctx context.Context) error {
		return p.call(ctx, http.MethodDelete, "sys/auth/"+m.Path, nil, nil)
	})
	return nil
}

func (p *planner) read(ctx context.Context, path string) (object, error) {
	var answer struct {
		Data object `json:"data"`
	}
	err := p.call(ctx, http.MethodGet, path, nil, &answer)
	return answer.Data, err
}

// fields are a body's, as they come back from Vault.
func fields(body any) object {
	text, err := json.Marshal(body)
	var o object
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		panic(fmt.Sprintf("setup: text can't be written as JSON: %v", err))
	}
	return o
}

// differences are the wanted fields that are not so, with what they are and will be.
func differences(found, want object) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if same(found[name], want[name]) {
			continue
		}
		switch is := found[name]; {
		case strings.HasSuffix(name, "_ca_pem"):
			all = append(all, name)
		case len(found) == 0 || is == nil:
			all = append(all, fmt.Sprintf("%s %v", name, plain(want[name])))
		default:
			all = append(all, fmt.Sprintf("%s %v, instead of %v", name, plain(want[name]), plain(is)))
		}
	}
	return all
}

func plain(value any) any {
	if text, err := json.Marshal(value); err == nil {
		return string(text)
	}
	return value
}

// same compares a wanted value with Vault's own form of it: it keeps times in seconds, lists that are sets in any order, and PEM with a newline or without.
func same(found, want any) bool {
	switch want := want.(type) {
	case string:
		if seconds, ok := found.(float64); ok {
			return seconds == inSeconds(want)
		}
		text, _ := found.(string)
		return strings.TrimSpace(text) == strings.TrimSpace(want)
	case []any:
		list, _ := found.([]any)
		return reflect.DeepEqual(sorted(list), sorted(want))
	}
	return reflect.DeepEqual(found, want)
}

func sorted(list []any) []string {
	all := []string{}
	for _, each := range list {
		all = append(all, fmt.Sprint(each))
	}
	slices.Sort(all)
	return all
}

// inSeconds is a time to live that package trust has checked.
func inSeconds(ttl string) float64 {
	units := map[byte]float64{'s': 1, 'm': 60, 'h': 3600}
	digits, unit := ttl, 1.0
	if factor, ok := units[ttl[len(ttl)-1]]; ok {
		digits, unit = ttl[:len(ttl)-1], factor
	}
	n := 0.0
	for _, digit := range digits {
		n = n*10 + float64(digit-'0')
	}
	return n * unit
}
